import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { StorageDriver } from "../../src/storage/driver.ts";
import { PathNotFoundError } from "../../src/storage/errors.ts";
import { callOf, type Fault, type FaultProxy, type ProxiedRequest, reachesServer, type SeenRequest, startFaultProxy } from "../support/fault-proxy.ts";
import { digestOf, seededBytes } from "../support/http.ts";
import { randomFaults } from "../support/random-faults.ts";
import { create, holds, OPERATIONS, type Operation, type OperationContext, writeAll } from "../support/store-operations.ts";
import { storageDriverContract, type StoreCapabilities } from "./storage-driver.ts";

const MIB = 1024 * 1024;
/** So long that no call on a busy machine is taken for one that stalls. */
const PATIENT_MS = 60_000;
/** Where something stalls, at least; see `impatienceFor`. */
const IMPATIENT_MS = 1000;
const ROUNDS = 12;
/** For those tests that do everything, on a machine that does much else. */
const LONG_TEST_MS = 200_000;

/** A refusal, and what must be found of it in the driver's error. Answers to HEAD have no body that could say why. */
export interface Refusal {
  readonly fault: Extract<Fault, { readonly kind: "answer" }>;
  readonly text: RegExp;
  /** How often a call is made at most that meets with nothing else. */
  readonly maxTries: number;
}

/** A store to be put behind a proxy, and what there is to know of how its driver speaks to it. */
export interface FaultySubject extends AsyncDisposable {
  readonly endpoint: string;
  /** In such parts large files are sent. */
  readonly partBytes: number;
  /** How often a call is made at most. */
  readonly maxTries: number;
  readonly refusals: { readonly internal: Refusal; readonly overload: Refusal; readonly expired: Refusal; readonly denied: Refusal };
  /**
   * Opens a driver that reaches the store there, and gives up a call when nothing comes for so long.
   * @param root A root directory, for a store of its own.
   */
  open(endpoint: string, silenceMs: number, root?: string): Promise<StorageDriver>;
  /** The shortest time that makes sense here. */
  readonly minSilenceMs: number;
  /** Names of all objects that begin so, whatever they are; without a slash in front. */
  names(prefix: string): Promise<readonly string[]>;
  /** How many uploads to such names are begun and neither finished nor given up. */
  unfinished(prefix: string): Promise<number>;
  /** Whether a request begins an upload, which the store keeps until it is finished or given up. */
  begins(request: SeenRequest): boolean;
  /** Whether a request asks for content of an object. */
  readsContent(request: ProxiedRequest): boolean;
  /** Whether a request sends bytes of an upload that come after its first part. */
  sendsSecondPart(request: ProxiedRequest): boolean;
  /** What a writer says to have after it failed over the second part. */
  readonly keptBytes: number;
  /** Whether a request is not the driver's, but the store's own. */
  spares?(request: ProxiedRequest): boolean;
  /** Whether a call, when it had to be tried twice, leaves open whether there was anything to do for it. */
  isAmbiguous?(request: ProxiedRequest): boolean;
}

/**
 * How a driver is to bear up against a store, and a network, that falters: everything is right in the end, or fails soon with a
 * reason, with nothing torn and nothing left behind.
 */
export function storeFaults(name: string, start: () => Promise<FaultySubject>): void {
  describe(`the ${name} driver, when the store`, () => {
    let store: FaultySubject;
    let proxy: FaultProxy;
    /** Past the proxy. */
    let direct: StorageDriver;
    let driver: StorageDriver;
    let large: Uint8Array;
    let other: Uint8Array;
    let folders = 0;

    beforeAll(async () => {
      store = await start();
      direct = await store.open(store.endpoint, PATIENT_MS);
      large = seededBytes(store.partBytes + 300_001, 1);
      other = seededBytes(large.length, 2);
    });
    afterAll(async () => {
      await direct[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
    });
    beforeEach(async () => {
      proxy = await startFaultProxy(store.endpoint);
      driver = await store.open(proxy.url, PATIENT_MS);
    });
    afterEach(async () => {
      await driver[Symbol.asyncDispose]();
      await proxy[Symbol.asyncDispose]();
    });

    interface Task {
      readonly name: string;
      readonly operation: Operation;
      readonly context: OperationContext;
    }

    async function prepared(): Promise<readonly Task[]> {
      const tasks = Object.entries(OPERATIONS).map(([operationName, operation]) => ({ name: operationName, operation, context: { folder: newFolder(), large, other } }));
      await Promise.all(tasks.map(({ operation, context }) => operation.prepare?.(direct, context)));
      return tasks;
    }

    function newFolder(): string {
      return `/f${folders++}x`;
    }

    /** A plan by which every call fails the first few times. */
    function failingFirst(times: number, faultOf: (request: ProxiedRequest) => Fault): FaultProxy["plan"] {
      const failures = new Map<string, number>();
      return (request) => {
        if (store.spares?.(request) === true) return undefined;
        const fault = faultOf(request);
        // What has no body cannot be too short, and of content nobody knows better how long it is.
        if (fault.kind === "wrong-length" && (request.method === "HEAD" || store.readsContent(request))) return undefined;
        // Where content goes on after a break it is still the same that is asked for.
        const call = store.readsContent(request) ? request.url : callOf(request);
        const count = failures.get(call) ?? 0;
        failures.set(call, count + 1);
        return count < times ? fault : undefined;
      };
    }

    /** Runs what was prepared against the plan, and looks at what came of it. */
    async function succeed(tasks: readonly Task[], faltering: StorageDriver): Promise<void> {
      await Promise.all(tasks.map(({ operation, context }) => operation.run(faltering, context)));
      // Sessions of GCS are gone on with at the address where they were begun.
      proxy.plan = () => undefined;
      await Promise.all(
        tasks.map(async ({ name: what, operation, context }) => {
          await operation.check?.(direct, context);
          const prefix = `${context.folder.slice(1)}/`;
          const names = (await store.names(prefix)).map((objectName) => objectName.slice(prefix.length));
          expect({ what, names }).toEqual({ what, names: [...operation.leaves] });
          expect(await store.unfinished(prefix)).toBeLessThanOrEqual(lostBeginnings(context.folder));
        }),
      );
    }

    /** How many uploads the store may have begun of which nobody heard: each is left, for the purge. */
    function lostBeginnings(folder: string): number {
      const beginnings = proxy.requests.filter((request) => decodeURIComponent(request.url).includes(`${folder.slice(1)}/`) && store.begins(request) && reachesServer(request.fault));
      return beginnings.length - new Set(beginnings.map(callOf)).size;
    }

    const passing: readonly (readonly [string, (refusals: FaultySubject["refusals"]) => Fault, number])[] = [
      ["says 500", ({ internal }) => internal.fault, 2],
      ["says that it has too much to do", ({ overload }) => overload.fault, 2],
      ["is behind a gateway that says 502 in HTML", () => ({ kind: "answer", status: 502, headers: { "Content-Type": "text/html" }, body: "<html>Bad Gateway<p></html>" }), 2],
      ["breaks connections", () => ({ kind: "reset" }), 2],
      ["does what it is told, but its answers get lost", () => ({ kind: "lost-answer" }), 1],
      ["ends answers early", () => ({ kind: "truncate", bodyBytes: 2 }), 1],
      ["announces less than it sends", () => ({ kind: "wrong-length", byBytes: -1 }), 1],
    ];

    test.each(passing)("%s, does everything right in the end", async (_what, faultFor, times) => {
      const tasks = await prepared();
      const fault = faultFor(store.refusals);
      proxy.plan = failingFirst(times, () => fault);
      await succeed(tasks, driver);
    }, LONG_TEST_MS);

    test("stalls, before or in its answers, or after them, or announces more than it sends, does everything right in the end", async () => {
      const faults: readonly Fault[] = [{ kind: "stall" }, { kind: "stall-body", bodyBytes: 2 }, { kind: "dead-after" }, { kind: "wrong-length", byBytes: 7 }];
      const started = performance.now();
      const tasks = await prepared();
      await using impatient = await store.open(proxy.url, impatienceFor(performance.now() - started));
      let index = 0;
      proxy.plan = failingFirst(1, () => faults[index++ % faults.length] ?? { kind: "stall" });
      await succeed(tasks, impatient);
    }, LONG_TEST_MS);

    const lasting: readonly (readonly [string, (subject: FaultySubject) => { readonly fault: Fault; readonly text: RegExp; readonly maxTries: number; readonly silenceMs?: number }])[] = [
      ["has too much to do", ({ refusals }) => refusals.overload],
      ["breaks connections", ({ maxTries }) => ({ fault: { kind: "reset" }, text: /ECONNRESET/, maxTries })],
      ["stalls", ({ maxTries, minSilenceMs }) => ({ fault: { kind: "stall" }, text: /ETIMEDOUT/, maxTries, silenceMs: minSilenceMs })],
      ["says that credentials have expired", ({ refusals }) => refusals.expired],
      ["says that access is denied", ({ refusals }) => refusals.denied],
    ];

    test.each(lasting)("%s for good, fails after bounded tries, says why, and harms nothing", async (_what, faultFor) => {
      const tasks = await prepared();
      const { fault, text, maxTries, silenceMs = PATIENT_MS } = faultFor(store);
      await using faltering = await store.open(proxy.url, silenceMs);
      const before = proxy.requests.length;
      proxy.plan = () => fault;
      const failures = await Promise.all(tasks.map(async (task) => ({ ...task, error: await failureOf(task.operation.run(faltering, task.context)) })));
      for (const { name: what, error } of failures) {
        expect(`${what}: ${error.message}`).toMatch(text);
        expect(error).not.toBeInstanceOf(PathNotFoundError);
      }
      for (const [call, tries] of Map.groupBy(proxy.requests.slice(before), callOf)) expect(`${call}: ${tries.length <= maxTries ? "bounded" : tries.length}`).toBe(`${call}: bounded`);
      proxy.plan = () => undefined;
      await Promise.all(tasks.map(({ operation, context }) => operation.unharmed?.(direct, context)));
    }, LONG_TEST_MS);

    test("fails in the middle of a large file again and again, gives every byte once", async () => {
      const path = `${newFolder()}/file`;
      await create(direct, path, large);
      const cuts = [1, 30_000, store.partBytes / 2, 0, store.partBytes / 4];
      proxy.plan = (request) => {
        const bodyBytes = store.readsContent(request) ? cuts.pop() : undefined;
        return bodyBytes === undefined ? undefined : { kind: "truncate", bodyBytes };
      };
      await holds(driver, path, large);
      expect(cuts).toEqual([]);
    });

    test("announces more of a file than there is, fails and gives nothing that is not in it", async () => {
      const path = `${newFolder()}/file`;
      const started = performance.now();
      await create(direct, path, large);
      await using impatient = await store.open(proxy.url, impatienceFor(performance.now() - started));
      let reads = 0;
      proxy.plan = (request) => (store.readsContent(request) && reads++ === 0 ? { kind: "wrong-length", byBytes: 7 } : undefined);
      const { bytes, error } = await readUntilFailure(impatient, path);
      expect(error.message).not.toBe("");
      expect(digestOf(bytes)).toBe(digestOf(large));
    });

    test("has another object after a break, ends the stream with an error and no wrong byte", async () => {
      const path = `${newFolder()}/file`;
      await create(direct, path, large);
      const cutBytes = Math.floor(store.partBytes / 2);
      let reads = 0;
      proxy.plan = (request) => (store.readsContent(request) && reads++ === 0 ? { kind: "truncate", bodyBytes: cutBytes } : undefined);
      const { bytes } = await readUntilFailure(driver, path, () => create(direct, path, other));
      expect(bytes.length).toBeLessThanOrEqual(cutBytes);
      expect(digestOf(bytes)).toBe(digestOf(large.subarray(0, bytes.length)));
    });

    test("fails for a while in an upload, keeps what was stored and goes on after it", async () => {
      const path = `${newFolder()}/file`;
      const first = await driver.writer(path, { append: true });
      proxy.plan = (request) => (store.sendsSecondPart(request) ? store.refusals.internal.fault : undefined);
      const error = await failureOf(writeAll(first, large).then(() => first.close()));
      expect(error.message).toMatch(store.refusals.internal.text);
      await first[Symbol.asyncDispose]();
      proxy.plan = () => undefined;
      await using second = await driver.writer(path, { append: true });
      expect(second.sizeBytes).toBe(store.keptBytes);
      await writeAll(second, large.subarray(second.sizeBytes));
      await second.commit();
      await holds(direct, path, large);
      expect(await store.unfinished(path.slice(1))).toBeLessThanOrEqual(store.keptBytes === 0 ? 1 : 0);
    });

    test("refuses one upload after another, holds no memory of them", async () => {
      const folder = newFolder();
      proxy.plan = (request) => (store.sendsSecondPart(request) ? store.refusals.denied.fault : undefined);
      const fail = async (): Promise<void> => void (await failureOf(create(driver, `${folder}/file`, large)));
      for (let round = 0; round < ROUNDS; round++) await fail();
      const before = heldBytes();
      for (let round = 0; round < ROUNDS; round++) await fail();
      // Each round has this much in buffers.
      expect(heldBytes() - before).toBeLessThan((ROUNDS * store.partBytes) / 2 + 8 * MIB);
    });

    test("has faltered, holds no connection when the driver is closed", async () => {
      const path = `${newFolder()}/file`;
      await create(direct, path, large);
      proxy.plan = failingFirst(1, () => ({ kind: "truncate", bodyBytes: 10_000 }));
      const abandoned = (await driver.reader(path)).getReader();
      await abandoned.read();
      await abandoned.cancel();
      for (let round = 0; round < 20; round++) await driver.stat(path);
      await driver[Symbol.asyncDispose]();
      const deadline = Date.now() + 20_000;
      while (proxy.connections > 0 && Date.now() < deadline) await Bun.sleep(10);
      expect(proxy.connections).toBe(0);
    });
  });
}

/** The rules of `StorageDriver`, kept over a network and by a store that falter now and then. */
export function faultyContract(name: string, start: () => Promise<FaultySubject>, capabilities: StoreCapabilities): void {
  describe("through a network that falters", () => {
    let store: FaultySubject;
    let stores = 0;
    beforeAll(async () => {
      store = await start();
    });
    afterAll(async () => await store[Symbol.asyncDispose]());

    storageDriverContract(
      name,
      async () => {
        const proxy = await startFaultProxy(store.endpoint);
        const { internal, overload } = store.refusals;
        const faults: readonly Fault[] = [internal.fault, overload.fault, { kind: "reset" }, { kind: "lost-answer" }, { kind: "truncate", bodyBytes: 1 }];
        const root = `/store-${stores++}`;
        const open = (): Promise<StorageDriver> => store.open(proxy.url, PATIENT_MS, root);
        const driver = await open();
        proxy.plan = randomFaults({ seed: stores, faults, oneIn: 8, maxPerCall: 2, spares: (request) => isOfClient(request) || store.spares?.(request) === true || store.isAmbiguous?.(request) === true });
        return { driver, reopen: open, dispose: () => proxy[Symbol.asyncDispose]() };
      },
      { hasDirectories: false, locksBetweenProcesses: false, largeStreamBytes: 20 * MIB, ...capabilities },
    );
  });
}

/** Whether a request comes from a client that was sent to the store, and does not try again: its signature is in the URL. */
function isOfClient({ url }: ProxiedRequest): boolean {
  return /[?&]([a-z]+-)*sig(nature)?=/i.test(url);
}

/** Reads a file that cannot be read to its end. @param after Runs after the first chunk. */
async function readUntilFailure(driver: StorageDriver, path: string, after?: () => Promise<void>): Promise<{ readonly bytes: Uint8Array; readonly error: Error }> {
  const chunks: Uint8Array[] = [];
  const error = await failureOf(
    (async () => {
      for await (const chunk of await driver.reader(path)) {
        if (chunks.push(chunk) === 1) await after?.();
      }
    })(),
  );
  return { bytes: Buffer.concat(chunks), error };
}

/**
 * For how long a call is waited for that may have stalled: longer than a lot of them took on this machine a moment ago. One that is
 * slow all the same is taken for one that stalls, and tried again, too.
 */
function impatienceFor(observedMs: number): number {
  return Math.ceil(Math.max(IMPATIENT_MS, Math.min(2 * observedMs, PATIENT_MS)));
}

async function failureOf(work: Promise<unknown>): Promise<Error> {
  const error = await work.then(
    () => "nothing",
    (reason: unknown) => reason,
  );
  if (!(error instanceof Error)) throw new Error(`${String(error)} was thrown`);
  return error;
}

/** What is in use after everything was collected that can be. */
function heldBytes(): number {
  Bun.gc(true);
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + external + arrayBuffers;
}
