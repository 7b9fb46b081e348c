import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { startChild } from "../support/child.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { Client, CLIENTS, collect, collectCommand, Dice, neededBlobs, storedBlobs } from "./model.ts";

/** Of each test. */
const SECONDS = Number(process.env["REGISTRY_STRESS_SECONDS"] ?? 15);
const SEED = Number(process.env["REGISTRY_STRESS_SEED"] ?? Date.now() % 1_000_000);
const GRACE = ["--grace", "200ms"];
/** For so long a new manifest without a tag is left alone. */
const TAGGING_MS = 5_500;
/** A collector that was killed is not heeded any more after half a minute. */
const TAKE_OVER_MS = 35_000;

test(`what was acknowledged outlives collections beside two servers (seed ${SEED}, ${SECONDS} s)`, async () => {
  await using first = await startRegistry();
  await using second = await startRegistry({ storageFolder: first.storageFolder });
  const clients = makeClients([first, second]);
  const deadline = Date.now() + SECONDS * 1000;
  const totals = { runs: 0, deletedBlobs: 0, rescued: 0 };
  const collector = (async () => {
    while (Date.now() < deadline) {
      const result = await collect(first, ...GRACE);
      totals.runs++;
      totals.deletedBlobs += result.deletedBlobs;
      totals.rescued += result.rescued;
    }
  })();
  await Promise.all([...clients.map((client) => workUntil(deadline, client)), collector]);
  await settle(clients, first);
  expect(totals.runs).toBeGreaterThan(2);
  expect(totals.deletedBlobs).toBeGreaterThan(0);
  console.log(`${totals.runs} collections deleted ${totals.deletedBlobs} blobs, ${totals.rescued} were rescued, ${retries(clients)} pushes were tried again`);
}, (SECONDS + 60) * 1000);

test(`what was acknowledged outlives servers and collectors that are killed at any moment (seed ${SEED}, ${SECONDS} s)`, async () => {
  await using folder = await tempFolder();
  const dice = new Dice(SEED + CLIENTS);
  const servers = await Promise.all([startRegistry({ storageFolder: folder.path }), startRegistry({ storageFolder: folder.path })]);
  await using _cleanup = { [Symbol.asyncDispose]: async () => void (await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()))) };
  const clients = makeClients(servers);
  const deadline = Date.now() + SECONDS * 1000;
  const totals = { servers: 0, collectors: 0, runs: 0 };
  const serverKiller = (async () => {
    while (Date.now() < deadline) {
      await Bun.sleep(300 + dice.below(1500));
      const index = dice.below(servers.length);
      await servers[index]?.child.stop("SIGKILL");
      await servers[index]?.[Symbol.asyncDispose]();
      servers[index] = await startRegistry({ storageFolder: folder.path });
      totals.servers++;
    }
  })();
  const collector = (async () => {
    await using config = await startRegistry({ storageFolder: folder.path });
    while (Date.now() < deadline) {
      await using child = startChild(collectCommand(config, ...GRACE));
      // A run takes some two seconds: some live through it.
      const isOver = await Promise.race([child.exited.then(() => true), Bun.sleep(400 + dice.below(4000)).then(() => false)]);
      if (isOver && (await child.exited) === 0) totals.runs++;
      if (isOver) continue;
      await child.stop("SIGKILL");
      totals.collectors++;
    }
  })();
  await Promise.all([...clients.map((client) => workUntil(deadline, client)), collector, serverKiller]);
  const [first] = servers;
  if (first === undefined) throw new Error("no server");
  await settle(clients, first);
  console.log(`${totals.servers} servers and ${totals.collectors} collectors were killed, ${totals.runs} collections ended, ${retries(clients)} pushes were tried again`);
  expect(totals.servers).toBeGreaterThan(0);
}, (SECONDS + 120) * 1000);

function makeClients(servers: readonly RegistryProcess[]): readonly Client[] {
  return Array.from({ length: CLIENTS }, (_, index) => new Client(() => servers[index % servers.length]?.url ?? "", index, SEED));
}

async function workUntil(deadline: number, client: Client): Promise<void> {
  while (Date.now() < deadline) await client.step();
}

/** Nobody works any more: one last run leaves exactly what is tagged, and all of that can be pulled. */
async function settle(clients: readonly Client[], registry: RegistryProcess): Promise<void> {
  const before = (await Promise.all(clients.map((client) => client.pullAll()))).flat();
  // Beside a registry a manifest that was just pushed may be about to get its tag.
  await Bun.sleep(TAGGING_MS);
  await collectSoon(registry);
  expect(storedBlobs(registry.storageFolder)).toEqual(neededBlobs(before));
  expect((await Promise.all(clients.map((client) => client.pullAll()))).flat()).toEqual(before);
  expect(existsSync(join(registry.storageFolder, "docker/registry/v2/_gc/state"))).toBe(false);
}

async function collectSoon(registry: RegistryProcess): Promise<void> {
  for (const deadline = Date.now() + TAKE_OVER_MS; ; await Bun.sleep(1000)) {
    try {
      await collect(registry, "--grace", "0s");
      return;
    } catch (error) {
      if (Date.now() > deadline || !String(error).includes("another collection is under way")) throw error;
    }
  }
}

function retries(clients: readonly Client[]): number {
  return clients.reduce((sum, client) => sum + client.retries, 0);
}
