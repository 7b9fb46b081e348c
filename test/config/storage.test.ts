import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { cp, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { loadConfig } from "../../src/config/load.ts";
import { FaultyDriver } from "../../src/registry/testing/faulty-driver.ts";
import { NAME, pushImage as pushTestImage } from "../../src/registry/testing/test-registry.ts";
import { buildRegistry } from "../../src/server/build-registry.ts";
import { openFilesystemDriver } from "../../src/storage/filesystem/driver.ts";
import { FILESYSTEM_OPTIONS } from "../../src/storage/filesystem/options.ts";
import { openInMemoryDriver } from "../../src/storage/inmemory/driver.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { ACCEPT_ALL, expectStatus, pushBlob, pushImage, type Repository, startUpload } from "../support/http.ts";
import { type ConfigSection, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";

const DAY_MS = 24 * 3_600_000;

async function startWith(storage: ConfigSection, more: ConfigSection = {}): Promise<RegistryProcess> {
  return await startRegistry({ config: { storage, ...more } });
}

/** A registry that looks after its store every second. */
async function startMaintained(maintenance: ConfigSection): Promise<RegistryProcess> {
  return await startWith({ maintenance });
}

const SECOND = { enabled: true, interval: "1s", grace: "0s" };

async function statusOf(url: string): Promise<number> {
  return (await fetch(url, { headers: { accept: ACCEPT_ALL } })).status;
}

/** Whether a status comes within a time. */
async function becomes(url: string, status: number, withinMs = 20_000): Promise<boolean> {
  const deadline = Date.now() + withinMs;
  while (Date.now() < deadline) {
    if ((await statusOf(url)) === status) return true;
    await Bun.sleep(50);
  }
  return false;
}

function at(registry: RegistryProcess, name: string): Repository {
  return { url: registry.url, name };
}

describe("storage drivers", () => {
  test("storage.filesystem.rootdirectory: everything is below it", async () => {
    await using registry = await startRegistry();
    await pushImage(at(registry, "a"), "v1");
    expect(readdirSync(join(registry.storageFolder, "docker/registry/v2")).sort()).toEqual(expect.arrayContaining(["blobs", "repositories"]));
    expect(existsSync(join(registry.storageFolder, "docker/registry/v2/repositories/a/_manifests/tags/v1/current/link"))).toBe(true);
  });
  test("storage.inmemory: nothing is written, and nothing is left", async () => {
    const memory = { filesystem: undefined, inmemory: {} };
    await using first = await startWith(memory);
    const image = await pushImage(at(first, "a"), "v1");
    await expectStatus(200, `${first.url}/v2/a/manifests/${image.digest}`, { headers: { accept: ACCEPT_ALL } });
    expect(readdirSync(first.storageFolder)).toEqual([]);
    await first.child.stop();
    await using second = await startWith(memory);
    await expectStatus(404, `${second.url}/v2/a/manifests/v1`);
  });
  test("hits of the cache are counted under distribution's names", async () => {
    await using registry = await startWith({ filesystem: undefined, inmemory: {}, cache: { blobdescriptor: "inmemory" } }, { http: { debug: { addr: "127.0.0.1:0", prometheus: { enabled: true } } } });
    const digest = await pushBlob(at(registry, "a"), "content");
    for (let pull = 0; pull < 4; pull++) await expectStatus(200, `${registry.url}/v2/a/blobs/${digest}`, { method: "HEAD" });
    const metrics = await metricsOf(registry);
    expect(Number(/^registry_storage_cache_hits_total (\d+)$/m.exec(metrics)?.[1])).toBeGreaterThanOrEqual(3);
    expect(Number(/^registry_storage_cache_requests_total (\d+)$/m.exec(metrics)?.[1])).toBeGreaterThanOrEqual(4);
  });
  test("storage.cache.blobdescriptor, layerinfo and blobdescriptorsize: sizes are remembered where the store is not local", async () => {
    /** How often the store was asked for sizes while five blobs were pulled again and again. */
    const stats = async (cache: ConfigSection): Promise<number> => {
      await using registry = await startWith({ filesystem: undefined, inmemory: {}, cache }, { http: { debug: { addr: "127.0.0.1:0", prometheus: { enabled: true } } } });
      const blobs: string[] = [];
      for (let blob = 0; blob < 5; blob++) blobs.push(await pushBlob(at(registry, "a"), `blob ${blob}`));
      const before = await countStats(registry);
      for (let pull = 0; pull < 4; pull++) for (const blob of blobs) await expectStatus(200, `${registry.url}/v2/a/blobs/${blob}`, { method: "HEAD" });
      return (await countStats(registry)) - before;
    };
    const none = await stats({ blobdescriptor: undefined });
    const all = await stats({ blobdescriptor: "inmemory" });
    const few = await stats({ blobdescriptor: "inmemory", blobdescriptorsize: 1 });
    const old = await stats({ blobdescriptor: undefined, layerinfo: "inmemory" });
    const unlimited = await stats({ blobdescriptor: "inmemory", blobdescriptorsize: 0 });
    expect(all).toBeLessThan(none);
    expect(few).toBeGreaterThan(all);
    expect([old, unlimited]).toEqual([all, all]);
    await using odd = await startWith({ filesystem: undefined, inmemory: {}, cache: { blobdescriptor: "floppy" } });
    expect(odd.child.output()).toContain('unknown cache type \\"floppy\\", caching disabled');
  });
});

async function metricsOf(registry: RegistryProcess): Promise<string> {
  const debug = /debug server listening (\S+:\d+)/.exec(registry.child.output())?.[1];
  return await (await expectStatus(200, `http://${debug}/metrics`)).text();
}

async function countStats(registry: RegistryProcess): Promise<number> {
  const metrics = await metricsOf(registry);
  return Number(/^registry_storage_action_seconds_count\{action="Stat",driver="inmemory"\} (\d+)$/m.exec(metrics)?.[1] ?? 0);
}

/** The most files of a folder that were open at once while a work was done. */
async function mostOpenFiles(folder: string, work: Promise<unknown>): Promise<number> {
  const isOurs = (fd: string): boolean => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder);
    } catch {
      // Closed meanwhile.
      return false;
    }
  };
  let isDone = false;
  const done = work.finally(() => {
    isDone = true;
  });
  let most = 0;
  while (!isDone) {
    most = Math.max(most, readdirSync("/proc/self/fd").filter(isOurs).length);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await done;
  return most;
}

test("storage.filesystem.maxthreads: so many calls wait for the disk at once, but never less than 25", async () => {
  for (const [maxthreads, most] of [[undefined, 100], [40, 40], [1, 25]] as const) {
    await using folder = await tempFolder();
    await using driver = openFilesystemDriver(FILESYSTEM_OPTIONS.parse({ rootdirectory: folder.path, ...(maxthreads === undefined ? {} : { maxthreads }) }));
    const content = new Uint8Array(200_000);
    const paths = Array.from({ length: 150 }, (_, index) => `/file-${index}`);
    for (const path of paths) await driver.putContent(path, content);
    let seen = 0;
    // A look sees what is open at that moment and can miss the peak, so there are more until it was seen; more than is allowed must never be.
    for (let round = 0; round < 200 && seen < most; round++) {
      seen = Math.max(seen, await mostOpenFiles(folder.path, Promise.all(paths.map(async (path) => await driver.getContent(path)))));
    }
    expect([maxthreads, seen]).toEqual([maxthreads, most]);
  }
});

describe("storage.delete", () => {
  test("storage.delete.enabled: blobs, manifests and tags can be deleted, and else not", async () => {
    for (const [enabled, status] of [[true, 202], [false, 405]] as const) {
      await using registry = await startWith({ delete: { enabled } });
      const image = await pushImage(at(registry, "a"), "v1");
      for (const path of ["manifests/v1", `manifests/${image.digest}`, `blobs/${image.config.digest}`]) await expectStatus(status, `${registry.url}/v2/a/${path}`, { method: "DELETE" });
    }
  });
});

describe("storage.maintenance.readonly", () => {
  test("storage.maintenance.readonly.enabled: what is there is served, and nothing is written", async () => {
    await using writable = await startRegistry();
    const image = await pushImage(at(writable, "a"), "v1");
    await using registry = await startRegistry({ storageFolder: writable.storageFolder, config: { storage: { maintenance: { readonly: { enabled: true } } } } });
    await expectStatus(200, `${registry.url}/v2/a/manifests/v1`, { headers: { accept: ACCEPT_ALL } });
    await expectStatus(200, `${registry.url}/v2/a/blobs/${image.config.digest}`);
    await expectStatus(200, `${registry.url}/v2/a/tags/list`);
    for (const [method, path] of [["POST", "blobs/uploads/"], ["PUT", "manifests/v1"], ["DELETE", "manifests/v1"], ["DELETE", `blobs/${image.config.digest}`]] as const) {
      const response = await expectStatus(405, `${registry.url}/v2/a/${path}`, { method, ...(method === "PUT" ? { body: "{}" } : {}) });
      expect(await response.json()).toMatchObject({ errors: [{ code: "UNSUPPORTED" }] });
    }
  });
});

describe("storage.maintenance.uploadpurging", () => {
  /** Leaves an upload behind that began two days ago, and one that began now. */
  async function leaveUploads(registry: RegistryProcess): Promise<{ readonly old: string; readonly young: string }> {
    const [old, young] = [await startUpload(at(registry, "a")), await startUpload(at(registry, "a"))];
    const folder = join(registry.storageFolder, "docker/registry/v2/repositories/a/_uploads", new URL(old).pathname.split("/").at(-1) ?? "");
    const then = new Date(Date.now() - 2 * DAY_MS);
    await writeFile(join(folder, "startedat"), then.toISOString().replace(/\.\d+Z$/, "Z"));
    for (const file of readdirSync(folder)) await utimes(join(folder, file), then, then);
    return { old, young };
  }

  test("storage.maintenance.uploadpurging.enabled, age, interval and dryrun: old uploads go, and only they", async () => {
    const start = async (purging: ConfigSection): Promise<RegistryProcess> => await startMaintained({ uploadpurging: { enabled: true, age: "24h", interval: "1s", dryrun: false, ...purging } });
    await using active = await start({});
    await using dry = await start({ dryrun: true });
    await using off = await start({ enabled: false });
    await using patient = await start({ age: "168h" });
    const uploads = await leaveUploads(active);
    const kept = [(await leaveUploads(dry)).old, (await leaveUploads(off)).old, (await leaveUploads(patient)).old];
    expect(await becomes(uploads.old, 404)).toBe(true);
    expect(await statusOf(uploads.young)).toBe(204);
    await Bun.sleep(1200);
    for (const upload of kept) expect(await statusOf(upload)).toBe(204);
    // Again after an interval, and not just once.
    expect(await becomes((await leaveUploads(active)).old, 404)).toBe(true);
  });
});

describe("storage.maintenance.garbagecollect", () => {
  async function collected(registry: RegistryProcess, digest: string): Promise<boolean> {
    return await becomes(`${registry.url}/v2/a/blobs/${digest}`, 404);
  }

  test("storage.maintenance.garbagecollect.enabled, interval and dryrun: garbage goes while serving", async () => {
    // Pushed before: with a grace of nothing a push may lose its blobs while it is under way.
    await using before = await startRegistry();
    const image = await pushImage(at(before, "a"), "v1");
    await before.child.stop();
    await using active = await startRegistry({ storageFolder: before.storageFolder, config: { storage: { maintenance: { garbagecollect: SECOND } } } });
    await using dry = await startMaintained({ garbagecollect: { ...SECOND, dryrun: true } });
    await using off = await startMaintained({ garbagecollect: { ...SECOND, enabled: false } });
    const [garbage, dryGarbage, offGarbage] = [await pushBlob(at(active, "a"), "garbage"), await pushBlob(at(dry, "a"), "garbage"), await pushBlob(at(off, "a"), "garbage")];
    expect(await collected(active, garbage)).toBe(true);
    await expectStatus(200, `${active.url}/v2/a/manifests/v1`, { headers: { accept: ACCEPT_ALL } });
    await expectStatus(200, `${active.url}/v2/a/blobs/${image.config.digest}`);
    await dry.child.waitForOutput(/garbage collection finished/);
    expect(await statusOf(`${dry.url}/v2/a/blobs/${dryGarbage}`)).toBe(200);
    expect(await statusOf(`${off.url}/v2/a/blobs/${offGarbage}`)).toBe(200);
    expect(off.child.output()).not.toContain("garbage collection finished");
  });

  test("storage.maintenance.garbagecollect.cron and window: when runs begin", async () => {
    const everySecond = { ...SECOND, interval: "24h", cron: "* * * * * *" };
    const two = (value: number): string => String(value).padStart(2, "0");
    const clock = (minutes: number): string => {
      const time = new Date(Date.now() + minutes * 60_000);
      return `${two(time.getHours())}:${two(time.getMinutes())}`;
    };
    await using now = await startMaintained({ garbagecollect: { ...everySecond, window: `${clock(-60)}-${clock(60)}` } });
    await using later = await startMaintained({ garbagecollect: { ...everySecond, window: `${clock(120)}-${clock(180)}` } });
    const [garbage, kept] = [await pushBlob(at(now, "a"), "garbage"), await pushBlob(at(later, "a"), "garbage")];
    expect(await collected(now, garbage)).toBe(true);
    await Bun.sleep(1500);
    expect(await statusOf(`${later.url}/v2/a/blobs/${kept}`)).toBe(200);
  });

  test("storage.maintenance.garbagecollect.grace and deleteuntagged: what is young stays, what no tag needs goes when asked", async () => {
    await using patient = await startMaintained({ garbagecollect: { ...SECOND, grace: "1h" } });
    const young = await pushBlob(at(patient, "a"), "garbage");
    for (const deleteuntagged of [false, true]) {
      await using before = await startRegistry();
      const { digest } = await pushImage(at(before, "a"), undefined);
      await before.child.stop();
      await using registry = await startRegistry({ storageFolder: before.storageFolder, config: { storage: { maintenance: { garbagecollect: { ...SECOND, deleteuntagged } } } } });
      const manifest = `${registry.url}/v2/a/manifests/${digest}`;
      // What was just pushed may be about to get its tag: for some seconds it stays.
      if (deleteuntagged) expect(await becomes(manifest, 404)).toBe(true);
      else await registry.child.waitForOutput(/(garbage collection finished[^]*){5}/);
      expect([deleteuntagged, await statusOf(manifest)]).toEqual([deleteuntagged, deleteuntagged ? 404 : 200]);
    }
    expect(await statusOf(`${patient.url}/v2/a/blobs/${young}`)).toBe(200);
  });
});

describe("storage.maintenance.retention", () => {
  const RULES = [
    { repositories: ["last"], keep: { last: 1 } },
    { repositories: ["young/*"], keep: { youngerthan: "1h" } },
    { repositories: ["old"], keep: { youngerthan: "1ms" } },
    { repositories: ["always"], keep: { always: ["v2", "stable"] } },
    { repositories: ["pulled"], keep: { pulledwithin: "3h" } },
    { repositories: ["some"], tags: ["v1"], keep: { last: 0 } },
    { repositories: ["untagged"], untaggedafter: "1ms" },
  ];
  const REPOSITORIES = ["last", "young/one", "old", "always", "pulled", "some", "other"];

  async function tags(registry: RegistryProcess, name: string): Promise<readonly string[]> {
    const response = await fetch(`${registry.url}/v2/${name}/tags/list`);
    return response.status === 404 ? [] : ((await response.json()) as { tags: string[] | null }).tags ?? [];
  }

  async function fill(registry: RegistryProcess): Promise<string> {
    for (const name of REPOSITORIES) for (const [index, tag] of ["v1", "v2"].entries()) await pushImage(at(registry, name), tag, { seed: index });
    await expectStatus(200, `${registry.url}/v2/pulled/manifests/v1`, { headers: { accept: ACCEPT_ALL } });
    return (await pushImage(at(registry, "untagged"), undefined)).digest;
  }

  test("storage.maintenance.retention.enabled, dryrun and rules: tags that nothing speaks for go before each collection", async () => {
    const retention = { enabled: true, rules: RULES };
    // Pushed and pulled before anything is collected; the server that is asked notes what was pulled.
    await using before = await startMaintained({ retention });
    const untagged = await fill(before);
    await before.child.stop();
    const outcome = async (changes: ConfigSection, isCollected = false): Promise<readonly [Readonly<Record<string, readonly string[]>>, boolean]> => {
      await using folder = await tempFolder();
      await cp(before.storageFolder, folder.path, { recursive: true, preserveTimestamps: true });
      await using registry = await startRegistry({ storageFolder: folder.path, config: { storage: { maintenance: { garbagecollect: SECOND, retention: { ...retention, ...changes } } } } });
      await registry.child.waitForOutput(/garbage collection finished[^]*garbage collection finished/);
      const left = Object.fromEntries(await Promise.all(REPOSITORIES.map(async (name) => [name, await tags(registry, name)] as const)));
      return [left, await becomes(`${registry.url}/v2/untagged/manifests/${untagged}`, isCollected ? 404 : 200)];
    };
    const all = Object.fromEntries(REPOSITORIES.map((name) => [name, ["v1", "v2"]]));
    expect(await outcome({}, true)).toEqual([{ ...all, last: ["v2"], old: [], always: ["v2"], pulled: ["v1"], some: ["v2"] }, true]);
    expect(await outcome({ dryrun: true })).toEqual([all, true]);
    expect(await outcome({ enabled: false })).toEqual([all, true]);
  });
});

describe("lists", () => {
  test("catalog.maxentries and tags.maxtags: the longest page", async () => {
    await using registry = await startRegistry({ config: { catalog: { maxentries: 2 }, tags: { maxtags: 1 } } });
    for (const name of ["a", "b", "c"]) await pushImage(at(registry, name), "v1");
    await pushImage(at(registry, "a"), "v2");
    const catalog = await expectStatus(200, `${registry.url}/v2/_catalog`);
    expect(await catalog.json()).toEqual({ repositories: ["a", "b"] });
    expect(catalog.headers.get("link")).toContain('rel="next"');
    expect(await (await expectStatus(200, `${registry.url}/v2/a/tags/list?n=5`)).json()).toEqual({ name: "a", tags: ["v1"] });
  });
  test("storage.tag.concurrencylimit: so many tags are looked up at once when a manifest is deleted", async () => {
    await using folder = await tempFolder();
    const file = join(folder.path, "config.yml");
    for (const concurrencylimit of [1, 5]) {
      await Bun.write(file, JSON.stringify({ version: 0.1, storage: { inmemory: {}, delete: { enabled: true }, tag: { concurrencylimit } } }));
      const { config } = await loadConfig({ path: file, env: {}, strict: true });
      const driver = new FaultyDriver(openInMemoryDriver());
      await using registry = buildRegistry(config, { driver, log: SILENT_LOGGER }).registry;
      const digest = await pushTestImage(registry, "image", { tags: Array.from({ length: 30 }, (_, tag) => `v${tag}`) });
      let [now, most] = [0, 0];
      driver.before = async ({ method, path }) => {
        if (method !== "getContent" || !path.endsWith("/current/link")) return;
        most = Math.max(most, ++now);
        await Bun.sleep(1);
        now--;
      };
      expect(await registry.manifests.delete(NAME, digest)).toHaveLength(30);
      expect([concurrencylimit, most]).toEqual([concurrencylimit, concurrencylimit]);
    }
  });
});
