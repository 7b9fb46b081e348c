import { describe, expect, test } from "bun:test";
import { RegistryError } from "../oci/errors.ts";
import { parseName } from "../oci/name.ts";
import { UploadTokens } from "./upload-token.ts";

const NAME = parseName("a/b");
const STATE = { name: NAME, id: "0199-x", offset: 42, startedAt: new Date("2026-11-20T22:20:31Z") };

function refused(action: () => unknown): void {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(RegistryError);
    expect(error).toMatchObject({ code: "BLOB_UPLOAD_INVALID", status: 400 });
    return;
  }
  throw new Error("was accepted");
}

describe("UploadTokens", () => {
  const tokens = new UploadTokens(Buffer.from("secret"));

  test("gives back what it packed", () => {
    for (const offset of [0, 1, 4096, 2 ** 40]) expect(tokens.unpack(tokens.pack({ ...STATE, offset }), NAME, STATE.id)).toEqual({ ...STATE, offset });
  });

  test("has distribution's form", () => {
    const text = tokens.pack(STATE);
    expect(text).toMatch(/^[A-Za-z0-9_-]+=*$/);
    expect(text.length % 4).toBe(0);
    expect(Buffer.from(text, "base64url").subarray(32).toString()).toBe('{"Name":"a/b","UUID":"0199-x","Offset":42,"StartedAt":"2026-11-20T22:20:31Z"}');
  });

  test("takes Go's nanoseconds", () => {
    const json = Buffer.from('{"Name":"a/b","UUID":"0199-x","Offset":7,"StartedAt":"2026-11-20T22:20:31.123456789Z"}');
    const mac = new Bun.CryptoHasher("sha256", "secret").update(json).digest();
    const text = Buffer.concat([mac, json]).toString("base64url");
    expect(tokens.unpack(text, NAME, STATE.id).offset).toBe(7);
  });

  test("refuses missing, short, changed and foreign ones", () => {
    const text = tokens.pack(STATE);
    refused(() => tokens.unpack(null, NAME, STATE.id));
    refused(() => tokens.unpack("", NAME, STATE.id));
    refused(() => tokens.unpack("abcd", NAME, STATE.id));
    refused(() => tokens.unpack(text.slice(0, -8), NAME, STATE.id));
    refused(() => tokens.unpack(text, NAME, "other"));
    refused(() => tokens.unpack(text, parseName("c"), STATE.id));
    refused(() => new UploadTokens(Buffer.from("other")).unpack(text, NAME, STATE.id));
    for (let i = 0; i < text.length - 4; i += 7) {
      const changed = text.slice(0, i) + (text[i] === "A" ? "B" : "A") + text.slice(i + 1);
      refused(() => tokens.unpack(changed, NAME, STATE.id));
    }
  });
});
