import { describe, expect, test } from "bun:test";
import { parseForwarded } from "./forwarded.ts";

describe("parseForwarded", () => {
  const good: [string, string | undefined, string | undefined][] = [
    ["", undefined, undefined],
    ["proto=https", "https", undefined],
    ["Proto=https;Host=reg.example", "https", "reg.example"],
    ['host="reg.example:5000";proto=http', "http", "reg.example:5000"],
    ['host="a\\"b"', undefined, 'a"b'],
    ["for=192.0.2.1;proto=https;host=first, for=10.0.0.1;proto=http;host=second", "https", "first"],
    ["  proto=https ; host=h ", "https", "h"],
    ['for="[2001:db8::1]:80";host=h', undefined, "h"],
    ["host=h;", undefined, "h"],
  ];
  for (const [header, proto, host] of good) test(JSON.stringify(header), () => expect(parseForwarded(header)).toEqual({ proto, host }));

  for (const header of ["proto", "proto=a;proto=b", 'host="unterminated', "pro to=https", "host=", "host=a b"]) {
    test(`${JSON.stringify(header)} is malformed`, () => expect(parseForwarded(header)).toBeUndefined());
  }

  test("never throws on noise", () => {
    const letters = 'ab=;," \\\t[]:é';
    let seed = 1;
    for (let i = 0; i < 2000; i++) {
      let text = "";
      for (let k = 0; k < 12; k++) {
        seed = (seed * 1103515245 + 12345) % 2147483648;
        text += letters.charAt(seed % letters.length);
      }
      expect(() => parseForwarded(text)).not.toThrow();
    }
  });
});
