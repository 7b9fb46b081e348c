import { expect, test } from "bun:test";
import { parseChallenges } from "./challenge.ts";

test.each([
  ['Bearer realm="https://auth.test/token",service="r",scope="repository:a/b:pull"', [{ scheme: "bearer", parameters: { realm: "https://auth.test/token", service: "r", scope: "repository:a/b:pull" } }]],
  ["Basic realm=plain", [{ scheme: "basic", parameters: { realm: "plain" } }]],
  ['Basic realm="a \\"quoted\\" one"', [{ scheme: "basic", parameters: { realm: 'a "quoted" one' } }]],
  [
    'Negotiate, Bearer realm="x", service="y", Basic realm="z"',
    [
      { scheme: "negotiate", parameters: {} },
      { scheme: "bearer", parameters: { realm: "x", service: "y" } },
      { scheme: "basic", parameters: { realm: "z" } },
    ],
  ],
  ['BEARER REALM="x"', [{ scheme: "bearer", parameters: { realm: "x" } }]],
  ["", []],
  ['="x"', []],
  ['Bearer realm="unterminated', [{ scheme: "bearer", parameters: {} }]],
])("parseChallenges reads %s", (header, challenges) => {
  expect(parseChallenges(header)).toEqual(challenges);
});

test("parseChallenges: a long row of blanks takes no time", () => {
  const startedAt = performance.now();
  for (const blank of [" ", "\t"]) expect(parseChallenges(`Bearer${blank.repeat(100_000)}realm="x"${blank.repeat(100_000)}`)).toEqual([{ scheme: "bearer", parameters: { realm: "x" } }]);
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});
