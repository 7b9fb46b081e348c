import { describe, expect, test } from "bun:test";
import { basicChallenge, bearerChallenge, quote, scopeOf } from "./challenge.ts";

describe("quote", () => {
  test.each([
    ["plain realm", '"plain realm"'],
    ['the "realm"', '"the \\"realm\\""'],
    ["back\\slash", '"back\\\\slash"'],
    ["line\r\nSet-Cookie: x", '"line\\r\\nSet-Cookie: x"'],
    ["\0\x1b\x7f", '"\\x00\\x1b\\x7f"'],
    ["zero\u200bwidth", '"zero\\u200bwidth"'],
  ])("%p as Go does", (text, expected) => expect(quote(text)).toBe(expected));

  test("gives the bytes of UTF-8", () => expect(Buffer.from(quote("Régistry ☃"), "latin1").toString("utf8")).toBe('"Régistry ☃"'));

  test("makes what every header can hold", () => {
    for (let code = 0; code < 0x3000; code++) expect(() => new Headers({ "www-authenticate": basicChallenge(`a${String.fromCodePoint(code)}b`) })).not.toThrow();
  });
});

describe("bearerChallenge", () => {
  test("has blanks nowhere and leaves out what is empty", () => {
    expect(bearerChallenge({ realm: "https://r/token", service: "s", scope: "" })).toBe('Bearer realm="https://r/token",service="s"');
    expect(bearerChallenge({ realm: "https://r/token", service: "s", scope: "repository:a:pull", error: "insufficient_scope" })).toBe('Bearer realm="https://r/token",service="s",scope="repository:a:pull",error="insufficient_scope"');
  });
});

describe("scopeOf", () => {
  test("groups the actions of a resource, in the order that they are needed", () => {
    const records = [
      { type: "repository", name: "foo", action: "pull" },
      { type: "repository", name: "foo", action: "push" },
      { type: "repository", name: "bar", action: "pull" },
      { type: "repository", name: "foo", action: "pull" },
    ] as const;
    expect(scopeOf(records)).toBe("repository:foo:pull,push repository:bar:pull");
    expect(scopeOf([{ type: "registry", name: "catalog", action: "*" }])).toBe("registry:catalog:*");
    expect(scopeOf([])).toBe("");
  });
});
