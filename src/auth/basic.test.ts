import { describe, expect, test } from "bun:test";
import { parseBasic, parseBearer } from "./basic.ts";

const encode = (text: string | Uint8Array): string => Buffer.from(text).toString("base64");
const read = (header: string): readonly [string, string] | undefined => {
  const found = parseBasic(header);
  return found === undefined ? undefined : [found.user, Buffer.from(found.password).toString()];
};

describe("parseBasic", () => {
  test.each([
    [`Basic ${encode("alice:secret")}`, ["alice", "secret"]],
    [`basic ${encode("alice:secret")}`, ["alice", "secret"]],
    [`BASIC   ${encode("alice:secret")}`, ["alice", "secret"]],
    [`Basic ${encode("alice:a:b:")}`, ["alice", "a:b:"]],
    [`Basic ${encode("alice:")}`, ["alice", ""]],
    [`Basic ${encode(":secret")}`, ["", "secret"]],
    [`Basic ${encode("ünï:pässwörd☃")}`, ["ünï", "pässwörd☃"]],
  ] as const)("%s", (header, expected) => expect(read(header)).toEqual(expected));

  test("keeps the password's bytes, also when they are no text", () => {
    expect(parseBasic(`Basic ${encode(Buffer.from([0x61, 0x3a, 0xff, 0x00, 0xfe]))}`)?.password).toEqual(Buffer.from([0xff, 0x00, 0xfe]));
  });

  test.each([undefined, "", "Basic", "Basic ", "Basic !!!", `Basic ${encode("nocolon")}`, `Bearer ${encode("a:b")}`, `Basic${encode("a:b")}`, `Basic ${encode("a:b")} x`, `Basic ${encode("a:bc").replace("=", "")}`, `Basic ${encode(`a:${"b".repeat(9000)}`)}`, `Digest username="a"`, `Basic ${encode("a:b")}\n`])(
    "refuses %p",
    (header) => expect(parseBasic(header)).toBeUndefined(),
  );
});

describe("parseBearer", () => {
  test.each([
    ["Bearer abc", "abc"],
    ["bearer abc", "abc"],
    ["Bearer  abc", " abc"],
    ["Bearer ", ""],
    ["Bearer", undefined],
    ["Basic abc", undefined],
    [undefined, undefined],
  ] as const)("%p", (header, expected) => expect(parseBearer(header)).toBe(expected));
});
