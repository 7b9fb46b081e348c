import { expect, test } from "bun:test";
import { join } from "node:path";
import { digestOf } from "../../src/oci/digest.ts";
import { expectStatus, pushBlob } from "../support/http.ts";
import { makeCertificate } from "../support/certificates.ts";
import { startRegistry } from "../support/registry-process.ts";
import { startRedis, startRedisCluster } from "../support/redis.ts";
import { describeWith } from "../support/services.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { DIGEST, KNOWN, openCache, roundTrip } from "./open-cache.ts";

describeWith(["redis"], "openRedisCache", () => {
  test("keeps sizes under distribution's keys, and forgets them", async () => {
    await using redis = await startRedis();
    await using opened = await openCache({ addrs: [redis.address], clientname: "registry-one" });
    await roundTrip(opened);
    expect((await redis.cli("hmget", `blobs::${DIGEST}`, "digest", "size", "mediatype")).split("\n")).toEqual([DIGEST, "6", KNOWN.mediaType]);
    expect(await redis.cli("hlen", `blobs::${DIGEST}`)).toBe("3");
    expect(await redis.cli("client", "list")).toContain("name=registry-one");
    await opened.cache.delete(DIGEST);
    expect(await opened.cache.get(DIGEST)).toBeUndefined();
    expect(await redis.cli("keys", "*")).toBe("");
    expect(opened.lines).toEqual([]);
  });

  test("believes nothing that cannot be a size", async () => {
    await using redis = await startRedis();
    await using opened = await openCache({ addr: redis.address });
    await roundTrip(opened);
    for (const size of ["", "-1", "6 bytes", "1e9", "99999999999999999999"]) {
      await redis.cli("hset", `blobs::${DIGEST}`, "size", size);
      expect(await opened.cache.get(DIGEST)).toBeUndefined();
    }
    await redis.cli("del", `blobs::${DIGEST}`);
    await redis.cli("set", `blobs::${DIGEST}`, "not a hash");
    expect(await opened.cache.get(DIGEST)).toBeUndefined();
  });

  test("logs in with a password, and a user, to a database of its own", async () => {
    await using redis = await startRedis(["requirepass secret", "user registry on >hidden ~* +@all"], { cliArguments: ["-a", "secret", "--no-auth-warning"] });
    await using byPassword = await openCache({ addr: redis.address, password: "secret", db: 3 });
    await roundTrip(byPassword);
    expect(await redis.cli("-n", "3", "exists", `blobs::${DIGEST}`)).toBe("1");
    expect(await redis.cli("exists", `blobs::${DIGEST}`)).toBe("0");
    await using byUser = await openCache({ addrs: [redis.address], username: "registry", password: "hidden" });
    await roundTrip(byUser);
    await using refused = await openCache({ addrs: [redis.address], password: "wrong" });
    for (let tries = 0; tries < 1000 && refused.lines.length === 0; tries++) await Bun.sleep(10);
    expect(await refused.cache.get(DIGEST)).toBeUndefined();
    expect(refused.lines.join("\n")).not.toContain("wrong\"");
    expect(refused.lines.filter((line) => line.startsWith("warn")).length).toBe(1);
  });

  test("speaks TLS with a private authority, and shows a certificate", async () => {
    await using folder = await tempFolder();
    const authority = await makeCertificate("authority", { isAuthority: true });
    const [server, client] = [await makeCertificate("localhost", { issuer: authority }), await makeCertificate("registry", { issuer: authority })];
    const files = { ca: authority.certificate, server: server.certificate, serverKey: server.key, client: client.certificate, clientKey: client.key };
    for (const [name, text] of Object.entries(files)) await Bun.write(join(folder.path, name), text);
    const at = (name: keyof typeof files): string => join(folder.path, name);
    await using redis = await startRedis([`tls-cert-file ${at("server")}`, `tls-key-file ${at("serverKey")}`, `tls-ca-cert-file ${at("ca")}`]);
    const address = `localhost:${redis.port}`;
    await using trusted = await openCache({ addrs: [address], tls: { rootcas: [at("ca")], certificate: at("client"), key: at("clientKey") } });
    await roundTrip(trusted);
    await using older = await openCache({ addrs: [address], tls: { clientcas: [at("ca")], certificate: at("client"), key: at("clientKey") } });
    await roundTrip(older);
    const failure = await openCache({ addrs: [address], tls: { rootcas: [join(folder.path, "missing")] } }).catch((error: unknown) => error);
    expect(String(failure)).toContain("redis.tls.rootcas: cannot read");
  });

  test("uses a cluster", async () => {
    await using cluster = await startRedisCluster();
    await using opened = await openCache({ addrs: cluster.nodes.map((node) => node.address) });
    await roundTrip(opened);
    const digests = Array.from({ length: 30 }, (_, index) => digestOf(Buffer.from(`blob ${index}`)));
    for (const digest of digests) await opened.cache.set(digest, KNOWN);
    for (const digest of digests) expect(await opened.cache.get(digest)).toEqual(KNOWN);
    for (const node of cluster.nodes) expect(Number(await node.cli("dbsize"))).toBeGreaterThan(0);
  });

  test("finds the master by sentinels", async () => {
    await using redis = await startRedis();
    await using sentinel = await startRedis([`sentinel monitor the-master 127.0.0.1 ${redis.port} 1`], { sentinel: true });
    await using opened = await openCache({ addrs: [sentinel.address], mastername: "the-master" });
    await roundTrip(opened);
    expect(await redis.cli("exists", `blobs::${DIGEST}`)).toBe("1");
  });

  test("is empty while Redis is away, says so once, and is back by itself", async () => {
    await using redis = await startRedis();
    await using opened = await openCache({ addrs: [redis.address] });
    await roundTrip(opened);
    await redis.kill();
    await Bun.sleep(200);
    for (let count = 0; count < 20; count++) {
      expect(await opened.cache.get(DIGEST)).toBeUndefined();
      await opened.cache.set(DIGEST, KNOWN);
      await opened.cache.delete(DIGEST);
    }
    expect(opened.lines.filter((line) => line.startsWith("warn redis does not answer"))).toHaveLength(1);
    await redis.restart();
    await roundTrip(opened);
    expect(opened.lines.filter((line) => line.startsWith("info redis answers again"))).toHaveLength(1);
  });

  test("serves a registry, which serves on without it", async () => {
    await using redis = await startRedis();
    await using registry = await startRegistry({ config: { storage: { inmemory: {}, filesystem: undefined, cache: { blobdescriptor: "redis" } }, redis: { addrs: [redis.address] } } });
    const repository = { url: registry.url, name: "cached/one" };
    // It may not be connected yet.
    for (let tries = 0; tries < 100 && (await redis.cli("dbsize")) === "0"; tries++) await pushBlob(repository, `blob ${tries}`);
    const digest = await pushBlob(repository, "a blob");
    expect(await redis.cli("hget", `blobs::${digest}`, "size")).toBe("6");
    await redis.kill();
    expect((await expectStatus(200, `${registry.url}/v2/cached/one/blobs/${digest}`, { method: "HEAD" })).headers.get("content-length")).toBe("6");
    await pushBlob(repository, "another blob");
    await registry.child.waitForOutput(/redis does not answer/);
    await redis.restart();
    await registry.child.waitForOutput(/redis answers again/);
  });

  test("starts without Redis, and finds it later", async () => {
    await using redis = await startRedis();
    await redis.kill();
    await using opened = await openCache({ addrs: [redis.address] });
    expect(await opened.cache.get(DIGEST)).toBeUndefined();
    await redis.restart();
    await roundTrip(opened);
  });

  test("does not wait for a server that hangs, but once", async () => {
    await using redis = await startRedis();
    await using opened = await openCache({ addrs: [redis.address], readtimeout: "300ms", writetimeout: "300ms" });
    await roundTrip(opened);
    redis.signal("SIGSTOP");
    const started = performance.now();
    for (let count = 0; count < 50; count++) expect(await opened.cache.get(DIGEST)).toBeUndefined();
    // Each for itself would have waited 15 seconds.
    expect(performance.now() - started).toBeLessThan(7500);
    redis.signal("SIGCONT");
  });
});
