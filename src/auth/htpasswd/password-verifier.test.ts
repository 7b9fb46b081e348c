import { describe, expect, test } from "bun:test";
import { stat } from "node:fs/promises";
import { PasswordVerifier, VerifierBusyError } from "./password-verifier.ts";

const hash = (password: string | Uint8Array, cost = 4): Promise<string> => Bun.password.hash(password, { algorithm: "bcrypt", cost });
const bytes = (text: string): Uint8Array => Buffer.from(text);

describe("PasswordVerifier", () => {
  test("tells right from wrong", async () => {
    const verifier = new PasswordVerifier();
    const secret = await hash("pässwörd☃");
    expect(await verifier.verify(bytes("pässwörd☃"), secret, { address: "a" })).toBe(true);
    expect(await verifier.verify(bytes("passwort"), secret, { address: "a" })).toBe(false);
    expect(await verifier.verify(bytes(""), secret, { address: "a" })).toBe(false);
  });

  test("looks at 72 bytes, as bcrypt does elsewhere", async () => {
    const verifier = new PasswordVerifier();
    const long = await hash("x".repeat(72));
    expect(await verifier.verify(bytes(`${"x".repeat(72)}tail`), long, { address: "a" })).toBe(true);
    expect(await verifier.verify(bytes(`${"x".repeat(71)}y`), long, { address: "a" })).toBe(false);
  });

  test("takes bytes that are no text", async () => {
    const raw = Uint8Array.of(0xff, 0xfe, 0x80);
    expect(await new PasswordVerifier().verify(raw, await hash(raw), { address: "a" })).toBe(true);
  });

  test("bounds how many wait, in all and of one address, and goes on afterwards", async () => {
    const verifier = new PasswordVerifier(1);
    const secret = await hash("secret");
    const outcome = async (address: string): Promise<string> =>
      await verifier.verify(bytes("secret"), secret, { address }).then(
        (isRight) => String(isRight),
        (error) => (error instanceof VerifierBusyError ? "busy" : "failed"),
      );
    const count = (outcomes: readonly string[], what: string): number => outcomes.filter((each) => each === what).length;
    const one = await Promise.all(Array.from({ length: 70 }, async () => await outcome("a")));
    expect([count(one, "true"), count(one, "busy")]).toEqual([65, 5]);
    const many = await Promise.all(Array.from({ length: 520 }, async (_, index) => await outcome(`address ${index}`)));
    expect([count(many, "true"), count(many, "busy")]).toEqual([513, 7]);
    expect(await outcome("a")).toBe("true");
  });

  test("leaves threads to those who read files, and time to everybody", async () => {
    const verifier = new PasswordVerifier();
    const costly = await hash("secret", 10);
    const startedAt = performance.now();
    const logins = Promise.all(Array.from({ length: 8 }, async (_, index) => await verifier.verify(bytes(`wrong ${index}`), costly, { address: "a" })));
    let isDone = false;
    void logins.then(() => void (isDone = true));
    let slowestMs = 0;
    while (!isDone) {
      const before = performance.now();
      await stat(import.meta.path);
      await Bun.sleep(1);
      slowestMs = Math.max(slowestMs, performance.now() - before);
    }
    // All eight together take at least as long as one after another on every second core; no reader waits for nearly as long.
    expect(slowestMs).toBeLessThan((performance.now() - startedAt) / 2);
  });
});
