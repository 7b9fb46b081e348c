import { expect, test } from "bun:test";
import { makeCertificate, writeCertificate } from "../support/certificates.ts";
import { bulk, type FakeRedis, type RedisCommand, startFakeRedis } from "../support/fake-redis.ts";
import { startRedis } from "../support/redis.ts";
import { describeWith } from "../support/services.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { DIGEST, openCache, type OpenedCache, roundTrip } from "./open-cache.ts";

const PATIENCE_MS = 60_000;

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`it does not come to that: ${what}`);
    await Bun.sleep(10);
  }
}

/** Asks until a question has reached a server. */
async function asks(opened: OpenedCache, server: FakeRedis): Promise<void> {
  await until("it is asked", async () => {
    await opened.cache.get(DIGEST);
    return server.commands.some(([name]) => name === "hmget");
  });
}

/** The times between connections, in order. */
function pausesOf(server: FakeRedis): readonly number[] {
  return server.connections.slice(1).map((time, index) => time - (server.connections[index] ?? 0));
}

test("redis.minretrybackoff and maxretrybackoff: a server that is away is looked for after doubled pauses, up to the longest", async () => {
  using server = startFakeRedis(undefined, () => false);
  await using _ = await openCache({ addrs: [server.address], minretrybackoff: "20ms", maxretrybackoff: "80ms" });
  // Doubled without an end the last pause alone would be ten minutes.
  await until("it is looked for 16 times", () => server.connections.length > 16);
  // Timers are never early, but count in whole milliseconds.
  const least = [20, 40, 80, 80, 80];
  expect(least.filter((ms, index) => (pausesOf(server)[index] ?? 0) < ms - 2)).toEqual([]);
}, PATIENCE_MS);

test("redis.maxretries: so many connections are tried until a request whose connection broke is given up", async () => {
  for (const [maxretries, pause, leastMs] of [[0, "1h", 0], [3, "50ms", 150]] as const) {
    let goneAt = 0;
    using server = startFakeRedis(([name]) => {
      if (name !== "hmget") return undefined;
      goneAt = performance.now();
      return "gone";
    });
    await using opened = await openCache({ addrs: [server.address], maxretries, minretrybackoff: pause, maxretrybackoff: pause, readtimeout: "0", writetimeout: "0" });
    await asks(opened, server);
    expect(performance.now() - goneAt).toBeGreaterThan(leastMs - 5);
  }
}, PATIENCE_MS);

test("redis.dialtimeout: a connection that is not made in time is tried anew", async () => {
  await using folder = await tempFolder();
  const { certificateFile } = await writeCertificate(folder.path, "authority", await makeCertificate("authority", { isAuthority: true }));
  const options = { tls: { rootcas: [certificateFile] }, minretrybackoff: "1ms", maxretrybackoff: "1ms" };
  // It takes connections, and never shakes hands.
  using silent = startFakeRedis(() => "");
  await using impatient = await openCache({ ...options, addrs: [silent.address], dialtimeout: "50ms" });
  await until("it is tried anew", () => silent.connections.length > 3);
  await until("it is said why", () => impatient.lines.some((line) => line.includes("ETIMEDOUT")));
  using other = startFakeRedis(() => "");
  await using patient = await openCache({ ...options, addrs: [other.address], dialtimeout: "1h" });
  await until("it is tried", () => other.connections.length > 0);
  await Bun.sleep(300);
  expect([other.connections.length, patient.lines]).toEqual([1, []]);
}, PATIENCE_MS);

test("redis.maxredirects: so often a request is sent on to where a cluster says", async () => {
  for (const maxredirects of [0, 4]) {
    // It has everything, and sends on whoever asks for something.
    using server: FakeRedis = startFakeRedis(([name = "", what = ""]) => {
      if (name === "hmget") return `-MOVED 1 ${server.address}\r\n`;
      return name === "cluster" && what.toLowerCase() === "slots" ? slots([server.port]) : undefined;
    });
    await using opened = await openCache({ addrs: [server.address, server.address], maxredirects });
    await asks(opened, server);
    await opened.cache.get(DIGEST);
    expect(server.commands.filter(([name]) => name === "hmget")).toHaveLength(1 + maxredirects);
  }
}, PATIENCE_MS);

test("redis.readonly and routerandomly: reads go to replicas of a cluster, or to all of its nodes", async () => {
  for (const [options, expected] of [[{}, [true, false]], [{ readonly: true }, [false, true]], [{ routerandomly: true }, [true, true]]] as const) {
    const answer = ([name = "", what = ""]: RedisCommand): string | undefined => {
      if (name === "hmget") return `*2\r\n${bulk("6")}${bulk("text/plain")}`;
      return name === "cluster" && what.toLowerCase() === "slots" ? slots(ports) : undefined;
    };
    using master = startFakeRedis(answer);
    using replica = startFakeRedis(answer);
    const ports = [master.port, replica.port];
    await using opened = await openCache({ addrs: [master.address, replica.address], ...options });
    await until("it is connected", async () => (await opened.cache.get(DIGEST)) !== undefined);
    for (let count = 0; count < 60; count++) expect(await opened.cache.get(DIGEST)).toEqual({ sizeBytes: 6, mediaType: "text/plain" });
    expect([master, replica].map(({ commands }) => commands.some(([name]) => name === "hmget"))).toEqual([...expected]);
    // Without this word a replica sends everybody on to its master.
    if (expected[1]) expect(replica.commands.some(([name]) => name === "readonly")).toBe(true);
  }
}, PATIENCE_MS);

/** A cluster of one master, which comes first, and its replicas. */
function slots(ports: readonly number[]): string {
  const nodes = ports.map((port) => `*3\r\n${bulk("127.0.0.1")}:${port}\r\n${bulk(String(port).padStart(40, "0"))}`);
  return `*1\r\n*${2 + nodes.length}\r\n:0\r\n:16383\r\n${nodes.join("")}`;
}

test("redis.disableidentity and identitysuffix: what the server is told of the client", async () => {
  for (const [options, told] of [[{}, "ioredis"], [{ identitysuffix: "registry" }, "ioredis(registry)"], [{ disableidentity: true }, undefined]] as const) {
    using server = startFakeRedis();
    await using opened = await openCache({ addrs: [server.address], ...options });
    await asks(opened, server);
    const names = server.commands.filter(([name, , what]) => name === "client" && what === "LIB-NAME").map(([, , , library]) => library);
    expect(new Set(names)).toEqual(new Set(told === undefined ? [] : [told]));
  }
}, PATIENCE_MS);

describeWith(["redis"], "openRedisCache", () => {
  test("redis.protocol: 3, or 2 where that is wanted", async () => {
    await using redis = await startRedis();
    for (const protocol of [undefined, 2, 3]) {
      await using opened = await openCache({ addrs: [redis.address], clientname: `speaks-${protocol}`, ...(protocol === undefined ? {} : { protocol }) });
      await roundTrip(opened);
      expect(await redis.cli("client", "list")).toMatch(new RegExp(`name=speaks-${protocol} .*resp=${protocol ?? 3}`));
    }
  }, PATIENCE_MS);

  test("redis.sentinelusername and sentinelpassword: sentinels that want a login", async () => {
    await using redis = await startRedis();
    await using sentinel = await startRedis([`sentinel monitor the-master 127.0.0.1 ${redis.port} 1`, "requirepass secret", "user finder on >hidden ~* &* +@all"], { sentinel: true, cliArguments: ["-a", "secret", "--no-auth-warning"] });
    const options = { addrs: [sentinel.address], mastername: "the-master" };
    await using byPassword = await openCache({ ...options, sentinelpassword: "secret" });
    await roundTrip(byPassword);
    await redis.cli("flushall");
    await using byUser = await openCache({ ...options, sentinelusername: "finder", sentinelpassword: "hidden" });
    await roundTrip(byUser);
    await using refused = await openCache({ ...options, sentinelusername: "finder", sentinelpassword: "wrong" });
    await until("it is refused", async () => (await sentinel.cli("acl", "log")).includes("finder"));
    expect(await refused.cache.get(DIGEST)).toBeUndefined();
  }, PATIENCE_MS);
});
