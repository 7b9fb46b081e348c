import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { effectiveYaml } from "../../src/config/effective.ts";
import { loadConfig } from "../../src/config/load.ts";

const FOLDER = join(import.meta.dir, "../../config");

describe("every file of config", () => {
  for (const name of readdirSync(FOLDER)) {
    test(`${name} loads strictly, and its effect can be printed`, async () => {
      const loaded = await loadConfig({ path: join(FOLDER, name), env: {}, strict: true });
      expect(loaded.warnings).toEqual([]);
      expect(effectiveYaml(loaded)).toStartWith('version: "0.1"');
    });
  }
});
