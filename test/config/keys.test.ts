import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { applyEnvironment } from "../../src/config/env.ts";
import { CONFIG_SCHEMA } from "../../src/config/schema.ts";
import { findOddKeys } from "../../src/config/unknown-keys.ts";
import { readYaml } from "../../src/config/yaml.ts";
import { KEY_TESTS } from "./keys.ts";
import { schemaKeys } from "./schema-keys.ts";

const ROOT = join(import.meta.dir, "../..");
const KEYS = schemaKeys();
const TESTED: ReadonlySet<string> = new Set(KEY_TESTS.flatMap(({ keys }) => keys));

describe("every key of the schema", () => {
  test("that has an effect is paired with the test that sees it", () => {
    const missing = KEYS.filter(({ key, inert }) => inert === undefined && !TESTED.has(key));
    expect(missing.map(({ key }) => key)).toEqual([]);
  });

  test("is paired once, and only if there is such a key", () => {
    const known = new Set(KEYS.map(({ key }) => key));
    const paired = KEY_TESTS.flatMap(({ keys }) => keys);
    expect(paired.filter((key) => !known.has(key))).toEqual([]);
    expect(paired.filter((key, index) => paired.indexOf(key) !== index)).toEqual([]);
  });

  test("that has an effect says which", () => {
    expect(KEYS.filter(({ inert, description }) => inert === undefined && (description ?? "") === "").map(({ key }) => key)).toEqual([]);
  });

  test("can be set by a variable", () => {
    const unset = KEYS.filter(({ key }) => key !== "version").filter(({ key }) => {
      const raw = readYaml("version: 0.1\n", undefined);
      const problems = applyEnvironment(raw, { [variableOf(key)]: "value" });
      return problems.length > 0 || raw.warnings.length > 0 || JSON.stringify(raw.values) !== JSON.stringify({ version: 0.1, ...withKey(key) });
    });
    expect(unset.map(({ key }) => `${key}: ${variableOf(key)}`)).toEqual([]);
  });

  test("that has no effect warns, and says why", () => {
    const silent = KEYS.filter(({ key, inert }) => inert !== undefined && !findOddKeys(withKey(key), CONFIG_SCHEMA).some((odd) => odd.inert && odd.message === `has no effect: ${inert}`));
    expect(silent.map(({ key }) => key)).toEqual([]);
  });

  test("that has an effect does not warn", () => {
    const odd = KEYS.filter(({ inert }) => inert === undefined).flatMap(({ key }) => findOddKeys(withKey(key), CONFIG_SCHEMA));
    expect(odd).toEqual([]);
  });
});

test("every test that a key is paired with exists", async () => {
  const texts = new Map<string, string>();
  for (const file of new Set(KEY_TESTS.map((row) => row.file))) texts.set(file, await Bun.file(join(ROOT, file)).text());
  const missing = KEY_TESTS.filter((row) => !texts.get(row.file)?.includes(JSON.stringify(row.test)));
  expect(missing.map((row) => `${row.file}: ${row.test}`)).toEqual([]);
});

test("the keys are counted", () => {
  const inert = KEYS.filter((key) => key.inert !== undefined);
  console.log(`${KEYS.length} keys: ${KEYS.length - inert.length} with a test of their effect, ${inert.length} without effect`);
  expect(KEYS.length).toBeGreaterThan(300);
});

/** `REGISTRY_HEALTH_FILE_0_INTERVAL` of `health.file[].interval`. */
function variableOf(key: string): string {
  return `REGISTRY_${key.replaceAll("[]", ".0").replaceAll(".", "_").toUpperCase()}`;
}

/** A configuration that holds one key and nothing else: `a.b[].c` as `{a: {b: [{c: …}]}}`. */
function withKey(key: string): object {
  return key.split(".").reduceRight<unknown>((value, part) => (part.endsWith("[]") ? { [part.slice(0, -2)]: [value] } : { [part]: value }), "value") as object;
}
