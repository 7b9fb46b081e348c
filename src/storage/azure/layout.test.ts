import { describe, expect, test } from "bun:test";
import { type LogFields, type Logger, SILENT_LOGGER } from "../../telemetry/log.ts";
import { hasLeadingSlash, LayoutCheck, objectKeysOf } from "./layout.ts";

const PLAIN = { credentials: {}, rootdirectory: "", legacyrootprefix: undefined };
const THIRD = { ...PLAIN, credentials: { type: "shared_key" } };

describe("hasLeadingSlash", () => {
  test.each([
    ["a configuration that 2.x takes", PLAIN, true],
    ["one with credentials", THIRD, false],
    ["one with a root directory", { ...PLAIN, rootdirectory: "/root" }, false],
    ["one that says so", { ...THIRD, rootdirectory: "/root", legacyrootprefix: true }, true],
    ["one that says no", { ...PLAIN, legacyrootprefix: false }, false],
  ])("%s", (_, options, expected) => {
    expect(hasLeadingSlash(options)).toBe(expected);
  });
});

describe("objectKeysOf", () => {
  test.each([
    ["", false, "docker/x", ""],
    ["", true, "/docker/x", "/"],
    ["/root/", false, "root/docker/x", "root/"],
    ["/root/", true, "/root/docker/x", "/root/"],
    ["/", true, "/docker/x", "/"],
  ])("names blobs below %p with legacyrootprefix %p", (rootdirectory, legacyrootprefix, key, prefix) => {
    const keys = objectKeysOf({ ...PLAIN, rootdirectory, legacyrootprefix });
    expect([keys.key("/docker/x"), keys.prefix("/"), keys.prefix("/docker"), keys.path(key)]).toEqual([key, prefix, `${prefix}docker/`, "/docker/x"]);
  });
});

describe("LayoutCheck", () => {
  /** A check of a container that has blobs under these prefixes. */
  function check(options: typeof PLAIN | typeof THIRD, prefixes: readonly string[], fail = false): { readonly check: LayoutCheck; readonly asked: string[]; readonly warnings: (LogFields | undefined)[] } {
    const [asked, warnings] = [new Array<string>(), new Array<LogFields | undefined>()];
    const log: Logger = { ...SILENT_LOGGER, warn: (_, fields) => void warnings.push(fields) };
    const container = {
      hasBlobs: async (prefix: string) => {
        asked.push(prefix);
        if (fail) throw new Error("it is broken");
        return prefixes.includes(prefix);
      },
    };
    return { check: new LayoutCheck(container, options, log), asked, warnings };
  }

  test.each([
    [PLAIN, "docker/registry/v2/", false],
    [THIRD, "/docker/registry/v2/", true],
    [{ ...THIRD, rootdirectory: "root" }, "/root/docker/registry/v2/", true],
  ])("of %j says once that there are blobs of the other kind", async (options, other, legacyrootprefix) => {
    const made = check(options, [other]);
    await made.check.missed();
    await made.check.missed();
    expect([made.asked, made.warnings]).toEqual([[other], [{ found: other, set: `storage.azure.legacyrootprefix: ${legacyrootprefix}` }]]);
  });

  test("says nothing where there are none, and where it cannot look", async () => {
    for (const made of [check(PLAIN, ["/docker/registry/v2/"]), check(PLAIN, [], true)]) {
      await made.check.missed();
      expect([made.asked, made.warnings]).toEqual([["docker/registry/v2/"], []]);
    }
  });
});
