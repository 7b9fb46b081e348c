import { describe, expect, test } from "bun:test";
import { mkdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { tempFolder } from "../../../test/support/temp-folder.ts";
import { testParts } from "../testing/parts.ts";
import { hashPassword, parsePasswords, provisionPasswords } from "./password-file.ts";

const HASH = `$2y$05$${"a".repeat(21)}e${"b".repeat(30)}e`;

describe("parsePasswords", () => {
  test("reads entries of bcrypt's three kinds, between comments, blank lines and any line ends", () => {
    const text = `# users\n\nalice:${HASH}\r\n  bob:${HASH.replace("$2y", "$2a")}  \n\t\nünï:${HASH.replace("$2y", "$2b")}`;
    expect([...parsePasswords(text).hashes.keys()]).toEqual(["alice", "bob", "ünï"]);
    expect(parsePasswords(text).refused).toEqual([]);
  });

  test("takes the last of several entries of a user, also when it is not usable", () => {
    const other = HASH.replace("$05", "$06");
    expect(parsePasswords(`alice:${HASH}\nalice:${other}`).hashes.get("alice")).toBe(other);
    expect(parsePasswords(`alice:${HASH}\nalice:$apr1$x$y`).hashes.size).toBe(0);
  });

  test.each(["$apr1$zxcv$asdf", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "secret", "", "$2y$05$short", `$2x${HASH.slice(3)}`, HASH.replace("$05", "$03"), HASH.replace("$05", "$32"), `${HASH}x`, "$6$salt$hash", "$argon2id$v=19$m=65536,t=2,p=1$x$y"])(
    "lets nobody in by %p, and says where that is",
    (hash) => {
      const { hashes, refused } = parsePasswords(`# first\nalice:${hash}`);
      expect(hashes.size).toBe(0);
      expect(refused).toEqual([{ line: 2, user: "alice" }]);
    },
  );

  test("names the line without a colon, and not its text", () => {
    expect(() => parsePasswords(`alice:${HASH}\n# fine\nmy secret`)).toThrow("line 3: found no colon, expected user:hash");
    expect(() => parsePasswords("my secret")).not.toThrow(/my secret/);
  });

  test("makes hashes usable whose last characters have bits too many", async () => {
    const hash = await Bun.password.hash("secret", { algorithm: "bcrypt", cost: 4 });
    const next = (index: number): string => hash.slice(0, index) + String.fromCharCode(hash.charCodeAt(index) + 1) + hash.slice(index + 1);
    for (const index of [28, 59]) {
      const kept = parsePasswords(`alice:${next(index)}`).hashes.get("alice") ?? "";
      expect(await Bun.password.verify("secret", kept, "bcrypt")).toBe(true);
    }
  });

  test("knows the users __proto__ and constructor only when they are there", () => {
    const { hashes } = parsePasswords(`__proto__:${HASH}`);
    expect(hashes.get("__proto__")).toBe(HASH);
    expect(hashes.get("constructor")).toBeUndefined();
  });
});

describe("Passwords.dummyFor", () => {
  test("costs what the file's entries cost", () => {
    expect(parsePasswords(`alice:${HASH}`).dummyFor("bob")).toStartWith("$2b$05$");
    expect(parsePasswords("").dummyFor("bob")).toStartWith("$2b$10$");
  });
  test("has each of the costs where they differ, always the same for a name", () => {
    const key = new Uint8Array(32);
    const text = `alice:${HASH}\ncarol:${HASH.replace("$05", "$12")}`;
    const costs = Array.from({ length: 100 }, (_, index) => parsePasswords(text, key).dummyFor(`user${index}`).slice(4, 6));
    expect(new Set(costs)).toEqual(new Set(["05", "12"]));
    expect(Array.from({ length: 100 }, (_, index) => parsePasswords(text, key).dummyFor(`user${index}`).slice(4, 6))).toEqual(costs);
  });
  test("is a hash that is really computed, and no password's", async () => {
    const dummy = parsePasswords(`alice:${HASH.replace("$05", "$04")}`).dummyFor("bob");
    expect(await Bun.password.verify("bob", dummy, "bcrypt")).toBe(false);
  });
});

describe("provisionPasswords", () => {
  test("makes folders and file for their owner alone, and tells the password once", async () => {
    await using folder = await tempFolder();
    const parts = testParts();
    const path = join(folder.path, "a/b/htpasswd");
    await provisionPasswords(path, parts.log);
    const text = await readFile(path, "utf8");
    expect(text).toMatch(/^docker:\$2y\$10\$[./A-Za-z0-9]{53}$/);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(join(folder.path, "a"))).mode & 0o777).toBe(0o700);
    expect((await stat(join(folder.path, "a/b"))).mode & 0o777).toBe(0o700);
    expect(parts.lines).toEqual([{ level: "warn", message: "htpasswd is missing, provisioning with default user", fields: { user: "docker", password: expect.stringMatching(/^[A-Za-z0-9_-]{43}$/) } }]);
    const password = String(parts.lines[0]?.fields["password"]);
    expect(await Bun.password.verify(password, text.slice("docker:".length), "bcrypt")).toBe(true);
  });

  test("leaves alone what is there", async () => {
    await using folder = await tempFolder();
    const parts = testParts();
    const path = join(folder.path, "htpasswd");
    await Bun.write(path, "anything");
    await provisionPasswords(path, parts.log);
    await mkdir(join(folder.path, "folder"));
    await provisionPasswords(join(folder.path, "folder"), parts.log);
    expect(await readFile(path, "utf8")).toBe("anything");
    expect(parts.lines).toEqual([]);
  });
});

test("hashPassword writes Apache's form", async () => {
  const hash = await hashPassword("secret", 4);
  expect(hash).toStartWith("$2y$04$");
  expect(await Bun.password.verify("secret", hash, "bcrypt")).toBe(true);
});
