import { describe, expect, test } from "bun:test";
import { createVerify, generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import { tempFolder } from "../../../test/support/temp-folder.ts";
import { type Clock, SYSTEM_CLOCK } from "../../lib/clock.ts";
import type { Logger } from "../../telemetry/log.ts";
import type { StorageDriver } from "../driver.ts";
import { openInMemoryDriver } from "../inmemory/driver.ts";
import { AddressRanges } from "./address-ranges.ts";
import { withMiddlewares } from "./middlewares.ts";
import { parseMiddleware, type StorageMiddleware } from "./options.ts";

const SILENT: Logger = { isEnabled: () => false, debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined, child: () => SILENT };
const PATH = "/docker/registry/v2/blobs/sha256/ab/abcd/data";
const GET = { method: "GET" } as const;

function parse(name: string, options: Record<string, unknown>): StorageMiddleware {
  const parsed = parseMiddleware({ name, disabled: false, options });
  if (!("name" in parsed)) throw new Error(JSON.stringify(parsed));
  return parsed;
}

function problems(name: string, options: Record<string, unknown>): readonly string[] {
  const parsed = parseMiddleware({ name, disabled: false, options });
  return "name" in parsed ? [] : parsed.map(({ key, message }) => `${key}: ${message}`);
}

/** As the driver for S3 is seen from here. */
function bucket(): StorageDriver {
  return Object.assign(openInMemoryDriver(), { name: "s3", objectKey: (path: string) => `root${path}`, redirectUrl: async (path: string) => `https://bucket.example.com:8443${path}?X-Amz-Signature=1` });
}

async function urlOf(driver: StorageDriver, middlewares: readonly StorageMiddleware[], request: { clientAddress?: string } = {}, clock: Clock = SYSTEM_CLOCK): Promise<string | undefined> {
  const wrapped = await withMiddlewares(driver, middlewares, { log: SILENT, clock });
  return await wrapped.redirectUrl?.(PATH, { ...GET, ...request });
}

describe("parseMiddleware", () => {
  test("names what is missing, wrong, or unknown", () => {
    expect(problems("redirect", {})).toEqual(["options.baseurl: missing"]);
    expect(problems("redirect", { baseurl: "cdn.example.com" })).toEqual(["options.baseurl: expected a URL that begins with http:// or https://"]);
    expect(problems("redirect", { baseurl: "https://cdn.example.com", bucket: "x" })).toEqual(["options.bucket: there is no such option"]);
    expect(problems("cloudfront", {}).map((problem) => problem.split(":")[0])).toEqual(["options.baseurl", "options.privatekey", "options.keypairid"]);
    expect(problems("cloudfront", { baseurl: "d1.cloudfront.net", privatekey: "k", keypairid: "i", ipfilteredby: "awsregion" })).toEqual(["options.awsregion: needed with ipfilteredby: awsregion"]);
    expect(problems("magic", {})[0]).toStartWith("name: no storage middleware registered with name: magic");
  });

  test("reads durations and regions as distribution does", () => {
    const base = { baseurl: "d1.cloudfront.net", privatekey: "k", keypairid: "i" };
    expect(parse("cloudfront", base).options).toMatchObject({ baseurl: "https://d1.cloudfront.net", validMs: 1_200_000, updateMs: 43_200_000, regions: [] });
    expect(parse("cloudfront", { ...base, duration: 60, updatefrenquency: "1h", awsregion: "us-east-1, EU-West-1" }).options).toMatchObject({ validMs: 1_200_000, updateMs: 3_600_000, regions: ["us-east-1", "eu-west-1"] });
    expect(parse("cloudfront", { ...base, duration: "5m", updatefrequency: "2h", awsregion: ["a"] }).options).toMatchObject({ validMs: 300_000, updateMs: 7_200_000, regions: ["a"] });
  });
});

describe("withMiddlewares", () => {
  test("leaves the driver as it is but for its URLs", async () => {
    const driver = openInMemoryDriver();
    expect(await withMiddlewares(driver, [], { log: SILENT, clock: SYSTEM_CLOCK })).toBe(driver);
    await using wrapped = await withMiddlewares(driver, [parse("redirect", { baseurl: "https://cdn.example.com" })], { log: SILENT, clock: SYSTEM_CLOCK });
    await wrapped.putContent("/a/file", "content");
    expect(Buffer.from(await wrapped.getContent("/a/file")).toString()).toBe("content");
    expect(wrapped.localFile).toBeUndefined();
    expect(wrapped.name).toBe("inmemory");
  });

  test("redirect: joins the paths, and keeps the port", async () => {
    expect(await urlOf(openInMemoryDriver(), [parse("redirect", { baseurl: "https://cdn.example.com" })])).toBe(`https://cdn.example.com${PATH}`);
    expect(await urlOf(bucket(), [parse("redirect", { baseurl: "http://cdn.example.com:8080/mirror/" })])).toBe(`http://cdn.example.com:8080/mirror${PATH}`);
  });

  test("rewrite: changes scheme, host and path of what came before, and nothing where that is nothing", async () => {
    expect(await urlOf(bucket(), [parse("rewrite", { scheme: "http", host: "inside:80", trimpathprefix: "/docker/registry" })])).toBe(`http://inside:80/v2/blobs/sha256/ab/abcd/data?X-Amz-Signature=1`);
    expect(await urlOf(bucket(), [parse("rewrite", { trimpathprefix: "/other" })])).toBe(`https://bucket.example.com:8443${PATH}?X-Amz-Signature=1`);
    expect(await urlOf(bucket(), [parse("redirect", { baseurl: "https://cdn.example.com/base" }), parse("rewrite", { host: "edge.example.com", trimpathprefix: "/base" })])).toBe(`https://edge.example.com${PATH}`);
    expect(await urlOf(openInMemoryDriver(), [parse("rewrite", { host: "edge.example.com" })])).toBeUndefined();
  });

  test("cloudfront: signs with a canned policy that the public key proves", async () => {
    await using folder = await tempFolder();
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const file = join(folder.path, "key.pem");
    const now = { ...SYSTEM_CLOCK, now: () => 1_800_000_000_000 };
    for (const type of ["pkcs1", "pkcs8"] as const) {
      await Bun.write(file, privateKey.export({ type, format: "pem" }));
      const url = new URL((await urlOf(bucket(), [parse("cloudfront", { baseurl: "d1.cloudfront.net/x", privatekey: file, keypairid: "APKA", duration: "10m" })], {}, now)) ?? "");
      expect(url.origin + url.pathname).toBe(`https://d1.cloudfront.net/x/root${PATH}`);
      expect([url.searchParams.get("Expires"), url.searchParams.get("Key-Pair-Id")]).toEqual(["1800000600", "APKA"]);
      const signature = (url.searchParams.get("Signature") ?? "").replaceAll("-", "+").replaceAll("_", "=").replaceAll("~", "/");
      const policy = `{"Statement":[{"Resource":"${url.origin}${url.pathname}","Condition":{"DateLessThan":{"AWS:EpochTime":1800000600}}}]}`;
      expect(createVerify("RSA-SHA1").update(policy).verify(publicKey, signature, "base64")).toBe(true);
    }
  });

  test("cloudfront: leaves other stores alone, and names a key file that cannot be used", async () => {
    const options = { baseurl: "d1.cloudfront.net", privatekey: "/missing.pem", keypairid: "i" };
    expect(await urlOf(openInMemoryDriver(), [parse("cloudfront", options)])).toBeUndefined();
    const failure = await urlOf(bucket(), [parse("cloudfront", options)]).catch((error: unknown) => error);
    expect(String(failure)).toContain("privatekey: cannot use /missing.pem");
  });
});

describe("AddressRanges", () => {
  const LIST = {
    prefixes: [
      { ip_prefix: "10.1.0.0/16", region: "us-east-1" },
      { ip_prefix: "10.1.2.0/24", region: "eu-west-1" },
      { ip_prefix: "192.0.2.128/25", region: "eu-west-1" },
      { ip_prefix: "not a prefix", region: "eu-west-1" },
    ],
    ipv6_prefixes: [{ ipv6_prefix: "2001:db8:ff00::/40", region: "us-east-1" }],
  };

  async function opened(options: { ipfilteredby: "aws" | "awsregion"; regions?: string[] }, serve: () => Response): Promise<{ ranges: AddressRanges } & AsyncDisposable> {
    const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: serve });
    const ranges = new AddressRanges({ regions: [], updateMs: 20, iprangesurl: `http://127.0.0.1:${server.port}/ip-ranges.json`, ...options }, { log: SILENT, clock: SYSTEM_CLOCK });
    return {
      ranges,
      async [Symbol.asyncDispose]() {
        ranges.close();
        await server.stop(true);
      },
    };
  }

  async function until(condition: () => boolean): Promise<void> {
    for (let tries = 0; tries < 200 && !condition(); tries++) await Bun.sleep(10);
    expect(condition()).toBe(true);
  }

  test("finds addresses of both families in networks that overlap", async () => {
    await using amazon = await opened({ ipfilteredby: "aws" }, () => Response.json(LIST));
    await until(() => amazon.ranges.has("10.1.0.0"));
    for (const inside of ["10.1.255.255", "10.1.2.3", "192.0.2.128", "::ffff:10.1.2.3", "::ffff:a01:203", "2001:db8:ff00::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"]) expect(amazon.ranges.has(inside)).toBe(true);
    for (const outside of ["10.0.255.255", "10.2.0.0", "192.0.2.127", "2001:db8:fe00::1", "2001:db9::", "::1", "", "host", "10.1.2"]) expect(amazon.ranges.has(outside)).toBe(false);
  });

  test("keeps to the regions", async () => {
    await using amazon = await opened({ ipfilteredby: "awsregion", regions: ["eu-west-1"] }, () => Response.json(LIST));
    await until(() => amazon.ranges.has("10.1.2.3"));
    expect([amazon.ranges.has("10.1.3.1"), amazon.ranges.has("192.0.2.200"), amazon.ranges.has("2001:db8:ff00::1")]).toEqual([false, true, false]);
  });

  test("follows changes, and keeps the last good list when there is none", async () => {
    let answer = (): Response => Response.json(LIST);
    await using amazon = await opened({ ipfilteredby: "aws" }, () => answer());
    await until(() => amazon.ranges.has("10.1.2.3"));
    for (const bad of [() => new Response("{", { status: 200 }), () => new Response("", { status: 500 }), () => Response.json({ prefixes: [] })]) {
      answer = bad;
      await Bun.sleep(60);
      expect(amazon.ranges.has("10.1.2.3")).toBe(true);
    }
    answer = () => Response.json({ prefixes: [{ ip_prefix: "10.9.0.0/16", region: "x" }] });
    await until(() => amazon.ranges.has("10.9.1.1"));
    expect(amazon.ranges.has("10.1.2.3")).toBe(false);
  });

  test("sends clients inside to the bucket, others to CloudFront", async () => {
    await using folder = await tempFolder();
    const file = join(folder.path, "key.pem");
    await Bun.write(file, generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ type: "pkcs1", format: "pem" }));
    await using server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => Response.json(LIST) });
    const options = { baseurl: "d1.cloudfront.net", privatekey: file, keypairid: "i", ipfilteredby: "aws", iprangesurl: `http://127.0.0.1:${server.port}/` };
    await using wrapped = await withMiddlewares(bucket(), [parse("cloudfront", options)], { log: SILENT, clock: SYSTEM_CLOCK });
    const hostFor = async (clientAddress: string): Promise<string> => new URL((await wrapped.redirectUrl?.(PATH, { ...GET, clientAddress })) ?? "").hostname;
    for (let tries = 0; tries < 100 && (await hostFor("10.1.2.3")) !== "bucket.example.com"; tries++) await Bun.sleep(10);
    expect([await hostFor("10.1.2.3"), await hostFor("203.0.113.1")]).toEqual(["bucket.example.com", "d1.cloudfront.net"]);
  });
});
