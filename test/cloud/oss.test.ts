import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { digestOf, expectStatus, pushBlob, type Repository, seededBytes, startUpload, uploadLocation, withQuery } from "../support/http.ts";
import { OssRefusal } from "../support/oss/error.ts";
import { errorResponse, type OssServer, ossSection, startOssServer } from "../support/oss-server.ts";
import { type ConfigSection, startRegistry } from "../support/registry-process.ts";
import { registryOnStore } from "./registry-on-store.ts";

const MIB = 1024 * 1024;
const CHUNK = 10 * MIB;

registryOnStore("a registry on OSS", async () => {
  const server = startOssServer();
  return {
    storage: { oss: ossSection(server, { rootdirectory: "/some/where" }) },
    objects: async (part) => server.bucket.keys.filter((name) => name.includes(part)),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
});

describe("a registry on OSS", () => {
  let server: OssServer;
  beforeAll(() => {
    server = startOssServer();
  });
  afterAll(async () => await server[Symbol.asyncDispose]());

  const storage = (parameters: Readonly<Record<string, unknown>> = {}): ConfigSection => ({ filesystem: undefined, oss: ossSection(server, parameters) });

  async function startFailure(parameters: Readonly<Record<string, unknown>>): Promise<string> {
    const failure: unknown = await startRegistry({ config: { storage: storage(parameters) } }).then(
      () => undefined,
      (error: unknown) => error,
    );
    return String(failure);
  }

  test("does not start with a wrong secret, a wrong key or without the bucket, and says which", async () => {
    expect(await startFailure({ accesskeysecret: "not-the-secret" })).toContain("SignatureDoesNotMatch");
    expect(await startFailure({ accesskeysecret: "not-the-secret" })).not.toContain("not-the-secret");
    expect(await startFailure({ accesskeyid: "nobody" })).toContain("InvalidAccessKeyId");
    expect(await startFailure({ bucket: "missing" })).toContain("NoSuchBucket");
  }, 60_000);

  test("asks for encryption where it is told to, of blobs, moved blobs and links", async () => {
    for (const [name, parameters, expected] of [
      ["plain", {}, [undefined, undefined]],
      ["aes", { encrypt: true }, ["AES256", undefined]],
      ["kms", { encrypt: true, encryptionkeyid: "a-key" }, ["KMS", "a-key"]],
    ] as const) {
      await using registry = await startRegistry({ config: { storage: storage({ rootdirectory: name, ...parameters }) } });
      const repository: Repository = { url: registry.url, name: "cloud/encrypted" };
      await pushBlob(repository, seededBytes(1000, 1));
      const large = seededBytes(CHUNK + MIB, 2);
      const next = await expectStatus(202, await startUpload(repository), { method: "PATCH", body: new Blob([large]) });
      await expectStatus(201, withQuery(uploadLocation(repository, next), { digest: digestOf(large) }), { method: "PUT" });
      const keys = server.bucket.keys.filter((key) => key.startsWith(`${name}/docker/registry/v2/`));
      expect(keys.filter((key) => key.endsWith("/data")).length).toBe(2);
      for (const key of keys) {
        const { attributes } = server.bucket.get(key);
        expect([attributes["x-oss-server-side-encryption"], attributes["x-oss-server-side-encryption-key-id"]]).toEqual([...expected]);
      }
    }
  }, 60_000);

  test("is unhealthy while the store is, and gets well by itself", async () => {
    await using registry = await startRegistry({ config: { health: { storagedriver: { enabled: true, interval: "200ms", threshold: 2 } }, storage: storage() } });
    const becomes = async (status: number): Promise<void> => {
      while ((await fetch(`${registry.url}/v2/`)).status !== status) await Bun.sleep(50);
    };
    await becomes(200);
    server.intercept = ({ method }) => errorResponse(new OssRefusal(503, "ServiceUnavailable", "The server is busy."), method);
    try {
      await becomes(503);
    } finally {
      server.intercept = undefined;
    }
    await becomes(200);
  }, 30_000);

  test("says nothing but its own lines, a warning of a key without effect among them", async () => {
    await using registry = await startRegistry({ config: { log: { formatter: "json" }, storage: storage({ encryptionkeyid: "a-key" }) } });
    const digest = await pushBlob({ url: registry.url, name: "cloud/lines" }, seededBytes(1000, 3));
    await expectStatus(307, `${registry.url}/v2/cloud/lines/blobs/${digest}`);
    const output = registry.child.output();
    expect(output).toMatch(/"level":"warning","msg":"storage\.oss\.encryptionkeyid has no effect without storage\.oss\.encrypt"/);
    // Those of the program, and those of the access log.
    for (const line of output.trim().split("\n")) expect(line).toMatch(/^(\{|127\.0\.0\.1 - )/);
    expect(output).not.toContain(server.accessKeySecret);
  });

  // What distribution 2.8 leaves of a request: parts of the chunk size, and one last part of what is left, up to two chunks large.
  test.each([
    ["one part of little", [1000]],
    ["one part of less than its chunks", [7 * MIB]],
    ["parts, the last of them little", [CHUNK, 5000]],
    ["parts, the last of them large", [CHUNK, 2 * CHUNK - 1]],
  ])("goes on with an upload of which distribution has left %s", async (_, sizes) => {
    await using registry = await startRegistry({ config: { storage: storage() } });
    const repository: Repository = { url: registry.url, name: "cloud/shared" };
    const sizeBytes = sizes.reduce((sum, size) => sum + size, 0);
    const content = seededBytes(sizeBytes + 3 * MIB, sizeBytes);
    // One server's location is the other's: the state in it is signed with the same secret.
    const begun = await expectStatus(202, await startUpload(repository), { method: "PATCH", body: new Blob([content.subarray(0, sizeBytes)]) });
    leaveAsDistribution(content, sizes);
    const next = await expectStatus(202, uploadLocation(repository, begun), { method: "PATCH", body: new Blob([content.subarray(sizeBytes)]) });
    const digest = digestOf(content);
    await expectStatus(201, withQuery(uploadLocation(repository, next), { digest }), { method: "PUT" });
    expect(digestOf(await (await fetch(`${registry.url}/v2/${repository.name}/blobs/${digest}`)).bytes())).toBe(digest);
    expect(server.bucket.uploads).toEqual([]);
  }, 60_000);

  /** Puts what distribution writes in the place of the one upload that there is. */
  function leaveAsDistribution(content: Uint8Array, sizes: readonly number[]): void {
    const [ours, ...more] = server.bucket.uploads;
    if (ours === undefined || more.length > 0) throw new Error("expected one unfinished upload");
    server.bucket.abort(ours);
    server.bucket.delete(`${ours.key}~tail`);
    for (const key of server.bucket.keys) if (key.includes("/hashstates/")) server.bucket.delete(key);
    const theirs = server.bucket.initiate(ours.key, { "content-type": "application/octet-stream" });
    let offset = 0;
    for (const [index, size] of sizes.entries()) {
      server.bucket.putPart(theirs, String(index + 1), [content.subarray(offset, offset + size)]);
      offset += size;
    }
  }
});
