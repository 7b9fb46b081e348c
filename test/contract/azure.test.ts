import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { openConnection } from "../../src/storage/azure/connection.ts";
import { Container } from "../../src/storage/azure/container.ts";
import { openAzureDriver } from "../../src/storage/azure/driver.ts";
import { AZURE_OPTIONS, type AzureOptions } from "../../src/storage/azure/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { type Azurite, startAzurite } from "../support/azurite.ts";
import { storageDriverContract } from "./storage-driver.ts";

const MIB = 1024 * 1024;
const OBJECT_STORE = { hasDirectories: false, locksBetweenProcesses: false };
/** A container of the real store, with what belongs to it. */
const { REGISTRY_TEST_AZURE_ACCOUNTNAME: accountname, REGISTRY_TEST_AZURE_ACCOUNTKEY: accountkey, REGISTRY_TEST_AZURE_CONTAINER: REAL_CONTAINER } = process.env;

let azurite: Azurite;
let containers = 0;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(async () => await azurite[Symbol.asyncDispose]());

/** The options for a container that is empty. */
async function newContainer(parameters: Readonly<Record<string, unknown>> = {}): Promise<AzureOptions> {
  const container = `test-${containers++}`;
  await azurite.createContainer(container);
  return AZURE_OPTIONS.parse(azurite.section(container, parameters));
}

for (const [name, parameters] of [
  ["azure", {}],
  ["azure with names as of distribution 2.x", { legacyrootprefix: true }],
  ["azure below a root directory of odd characters", { rootdirectory: "/größe & <more>+1 %41'(~)/" }],
] as const) {
  storageDriverContract(
    name,
    async () => {
      const options = await newContainer(parameters);
      const open = () => openAzureDriver(options, { log: SILENT_LOGGER });
      return { driver: await open(), reopen: open, dispose: async () => void (await azurite.container(options.container).delete()) };
    },
    { ...OBJECT_STORE, largeStreamBytes: 40 * MIB },
  );
}

if (REAL_CONTAINER !== undefined) {
  storageDriverContract(
    "azure on the real store",
    async () => {
      const options = AZURE_OPTIONS.parse({ accountname, accountkey, container: REAL_CONTAINER, rootdirectory: `registry-tests/${crypto.randomUUID()}` });
      const open = () => openAzureDriver(options, { log: SILENT_LOGGER });
      const dispose = async (): Promise<void> => {
        await using driver = await open();
        const { entries } = await driver.list("/");
        for (const { name } of entries) await driver.delete(`/${name}`);
      };
      return { driver: await open(), reopen: open, dispose };
    },
    { ...OBJECT_STORE, slowTestMs: 600_000 },
  );
}

// In pages of the driver's size, they would take thousands of blobs.
describe("a container's listing goes on from page to page", () => {
  const names = ["a", "a-/x", "a/1", "a/2", "a0", "b/1/2", "b/2", "c"];
  let container: Container;
  beforeAll(async () => {
    container = new Container(await openConnection(await newContainer(), { log: SILENT_LOGGER }));
    await Promise.all(names.map((name) => container.put(name, Buffer.from(name))));
  });
  afterAll(() => container.close());

  test("listBlobs, through everything below a prefix", async () => {
    for (const prefix of ["", "a", "a/", "b/", "d"]) {
      const pages = await Array.fromAsync(container.listBlobs(prefix, 2));
      expect(pages.flat().map(({ key }) => key)).toEqual(names.filter((name) => name.startsWith(prefix)));
      for (const page of pages) expect(page.length).toBeLessThanOrEqual(2);
    }
  });

  test("listChildren, with what is below them as one", async () => {
    const [keys, directories] = [new Array<string>(), new Array<string>()];
    let next: string | undefined;
    let count = 0;
    do {
      const page = await container.listChildren({ prefix: "", limit: 2, ...(next === undefined ? {} : { next }) });
      keys.push(...page.keys);
      directories.push(...page.directories);
      next = page.next;
      count++;
    } while (next !== undefined);
    expect([keys, directories, count]).toEqual([["a", "a0", "c"], ["a-/", "a/", "b/"], 3]);
  });

  test("listChildren, from after a name on", async () => {
    const { keys, directories } = await container.listChildren({ prefix: "", limit: 2, startAfter: "a-" });
    expect([keys, directories]).toEqual([["a0", "c"], ["a-/", "a/", "b/"]]);
  });
});
