import { describe, expect, test } from "bun:test";
import { expectStatus, pushBlob } from "../support/http.ts";
import { startRegistry } from "../support/registry-process.ts";

describe("middleware.storage", () => {
  test("redirect, then rewrite: clients of a store on files are sent elsewhere, unless that is disabled", async () => {
    const storage = [
      { name: "redirect", options: { baseurl: "https://cdn.example.com/base" } },
      { name: "rewrite", options: { host: "edge.example.com:8443", trimpathprefix: "/base" } },
      { name: "redirect", disabled: true, options: { baseurl: "https://never.example.com" } },
    ];
    await using registry = await startRegistry({ config: { middleware: { storage } } });
    const digest = await pushBlob({ url: registry.url, name: "a/b" }, "a blob");
    const url = `${registry.url}/v2/a/b/blobs/${digest}`;
    const hex = digest.slice("sha256:".length);
    for (const method of ["GET", "HEAD"]) {
      const answer = await expectStatus(307, url, { method, redirect: "manual" });
      expect(answer.headers.get("location")).toBe(`https://edge.example.com:8443/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`);
    }
    await using direct = await startRegistry({ storageFolder: registry.storageFolder, config: { middleware: { storage }, storage: { redirect: { disable: true } } } });
    expect(await (await expectStatus(200, `${direct.url}/v2/a/b/blobs/${digest}`)).text()).toBe("a blob");
  });

  test("cloudfront before files: says that it needs S3, and serves", async () => {
    const storage = [{ name: "cloudfront", options: { baseurl: "d1.cloudfront.net", privatekey: "/missing.pem", keypairid: "APKA" } }];
    await using registry = await startRegistry({ config: { middleware: { storage } } });
    await registry.child.waitForOutput(/cloudfront middleware works with the s3 driver only/);
    const digest = await pushBlob({ url: registry.url, name: "a/b" }, "a blob");
    await expectStatus(200, `${registry.url}/v2/a/b/blobs/${digest}`);
  });

  test("wrong options stop the start, and are named with their place", async () => {
    const failure = await startRegistry({ config: { middleware: { storage: [{ name: "redirect", options: { baseurl: "cdn" } }, { name: "rewrite", options: { hots: "x" } }] } } }).catch((error: unknown) => String(error));
    expect(failure).toMatch(/config\.yml:\d+:\d+.*middleware\.storage\[0\]\.options\.baseurl.*expected a URL/);
    expect(failure).toMatch(/middleware\.storage\[1\]\.options\.hots.*there is no such option/);
  });
});
