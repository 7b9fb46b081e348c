import { expect, test } from "bun:test";
import { join } from "node:path";
import { loadConfig } from "../../src/config/load.ts";
import { CONFIG_SCHEMA } from "../../src/config/schema.ts";
import { findOddKeys } from "../../src/config/unknown-keys.ts";
import { readYaml } from "../../src/config/yaml.ts";
import { tryCommand } from "../support/command.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { schemaKeys } from "./schema-keys.ts";

const ROOT = join(import.meta.dir, "../..");
const FILE = join(ROOT, "config/full.yml");

test("config/full.yml is what scripts/gen-config-docs.ts makes of the schema", async () => {
  const { exitCode, stderr } = await tryCommand([process.execPath, join(ROOT, "scripts/gen-config-docs.ts"), "--check"]);
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
});

test("config/full.yml says nothing else than the defaults", async () => {
  await using folder = await tempFolder();
  const file = join(folder.path, "short.yml");
  await Bun.write(file, "version: 0.1\nstorage: filesystem\n");
  const [full, short] = [await loadConfig({ path: FILE, env: {}, strict: true }), await loadConfig({ path: file, env: {}, strict: true })];
  // Empty sections are still sections.
  expect(full.config).toMatchObject(short.config);
  expect(short.config).toMatchObject(JSON.parse(JSON.stringify(full.config)) as object);
});

test("config/full.yml with its comments taken away is YAML, and names every key and no other", async () => {
  const text = await Bun.file(FILE).text();
  const afterHeader = text.slice(text.indexOf("\n\n"));
  const { values } = readYaml(afterHeader.replace(/^( *)# /gm, "$1"), undefined);
  expect(findOddKeys(values, CONFIG_SCHEMA).filter((odd) => !odd.inert)).toEqual([]);
  const written = new Set(namesIn(values));
  expect(schemaKeys().filter(({ key }) => !written.has(key)).map(({ key }) => key)).toEqual([]);
});

function namesIn(value: unknown, path = ""): readonly string[] {
  if (Array.isArray(value)) return value.flatMap((item: unknown) => namesIn(item, `${path}[]`));
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) => {
    const name = path === "" ? key : `${path}.${key}`;
    return [name, ...namesIn(item, name)];
  });
}
