import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { expectStatus, startUpload, uploadLocation } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";

let registry: RegistryProcess;
beforeAll(async () => {
  registry = await startRegistry({ config: { http: { headers: { "X-Extra": ["one", "two"] } } } });
});
afterAll(async () => await registry[Symbol.asyncDispose]());

describe("the base", () => {
  test("answers every method with {}", async () => {
    for (const method of ["GET", "POST", "PUT"]) {
      const response = await expectStatus(200, `${registry.url}/v2/`, { method });
      expect(response.headers.get("content-type")).toBe("application/json");
      expect(response.headers.get("content-length")).toBe("2");
      expect(response.headers.get("docker-distribution-api-version")).toBe("registry/2.0");
      expect(response.headers.get("x-extra")).toBe("one, two");
      expect(await response.text()).toBe("{}");
    }
  });
  test("GET / is alive", async () => {
    const response = await expectStatus(200, `${registry.url}/`);
    expect(response.headers.get("cache-control")).toBe("no-cache");
    expect(response.headers.get("docker-distribution-api-version")).toBeNull();
  });
  test("lists extensions", async () => {
    const body = (await (await expectStatus(200, `${registry.url}/v2/_oci/ext/discover`)).json()) as { extensions: { name: string }[] };
    expect(body.extensions.map((extension) => extension.name)).toContain("_oci");
  });
});

describe("paths", () => {
  test("slash variants lead to the right form", async () => {
    const cases: [string, string][] = [
      ["/v2", "/v2/"],
      ["/v2/_catalog/?n=3", "/v2/_catalog?n=3"],
      ["/v2/a/tags/list/", "/v2/a/tags/list"],
      ["/v2/a/blobs/uploads", "/v2/a/blobs/uploads/"],
      ["//v2/a//tags/list", "/v2/a/tags/list"],
    ];
    for (const [path, target] of cases) expect((await expectStatus(301, `${registry.url}${path}`)).headers.get("location")).toBe(target);
  });
  test("what is none of ours is a JSON 404", async () => {
    for (const path of ["/v1/", "/v2/a", "/v2/Foo/tags/list", "/v2/a..b/tags/list", "/v2/a_/tags/list", "/v2/%C3%A9/tags/list", "/index.html"]) {
      const response = await expectStatus(404, `${registry.url}${path}`);
      expect(response.headers.get("content-type")).toBe("application/json");
      expect(((await response.json()) as { errors: unknown[] }).errors.length).toBe(1);
    }
  });
  test("a name of 256 characters is NAME_INVALID", async () => {
    const response = await expectStatus(400, `${registry.url}/v2/${"a".repeat(256)}/tags/list`);
    expect(await response.json()).toMatchObject({ errors: [{ code: "NAME_INVALID" }] });
  });
  test("an escaped slash is a slash", async () => {
    const response = await expectStatus(404, `${registry.url}/v2/a%2Fb/tags/list`);
    expect(await response.json()).toMatchObject({ errors: [{ code: "NAME_UNKNOWN", detail: { name: "a/b" } }] });
  });
});

describe("methods", () => {
  test("that a resource does not have are 405 with Allow", async () => {
    const cases: [string, string, string][] = [
      ["POST", "/v2/_catalog", "GET"],
      ["PUT", "/v2/a/tags/list", "GET, HEAD"],
      ["POST", "/v2/a/manifests/t", "DELETE, GET, HEAD, PUT"],
      ["PATCH", `/v2/a/blobs/sha256:${"0".repeat(64)}`, "DELETE, GET, HEAD"],
      ["GET", "/v2/a/blobs/uploads/", "POST"],
    ];
    for (const [method, path, allow] of cases) {
      const response = await expectStatus(405, `${registry.url}${path}`, { method });
      expect(response.headers.get("allow")).toBe(allow);
      expect(await response.json()).toMatchObject({ errors: [{ code: "UNSUPPORTED" }] });
    }
  });
  test("OPTIONS tells", async () => {
    expect((await expectStatus(200, `${registry.url}/v2/a/tags/list`, { method: "OPTIONS" })).headers.get("allow")).toBe("GET, HEAD");
  });
});

describe("the URLs that are handed out", () => {
  const location = async (url: string, headers: Record<string, string> = {}): Promise<string> => {
    const response = await expectStatus(202, `${url}/v2/a/b/blobs/uploads/`, { method: "POST", headers });
    return (response.headers.get("location") ?? "").replace(/\/v2\/.*/, "");
  };
  test("follow the proxies' headers", async () => {
    expect(await location(registry.url)).toBe(registry.url);
    expect(await location(registry.url, { "x-forwarded-proto": "https", "x-forwarded-host": "reg.example" })).toBe("https://reg.example");
    expect(await location(registry.url, { forwarded: 'proto=https;host="f.example:8443"' })).toBe("https://f.example:8443");
  });
  test("are relative where configured", async () => {
    await using relative = await startRegistry({ config: { http: { relativeurls: true } } });
    expect(await location(relative.url)).toBe("");
  });
  test("are under http.host where configured", async () => {
    await using fixed = await startRegistry({ config: { http: { host: "https://public.example/x/" } } });
    expect(await location(fixed.url, { "x-forwarded-host": "other" })).toBe("https://public.example/x");
  });
  test("are under http.prefix, where everything is then", async () => {
    await using prefixed = await startRegistry({ config: { http: { prefix: "/my/reg/" } } });
    const base = `${prefixed.url}/my/reg`;
    await expectStatus(200, `${base}/v2/`);
    await expectStatus(404, `${prefixed.url}/v2/`);
    expect((await expectStatus(301, `${base}/v2`)).headers.get("location")).toBe("/my/reg/v2/");
    expect(await location(base)).toBe(base);
    const upload = await startUpload({ url: base, name: "a" });
    expect(uploadLocation({ url: base, name: "a" }, await expectStatus(204, upload))).toStartWith(base);
  });
});
