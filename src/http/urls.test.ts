import { describe, expect, test } from "bun:test";
import { parseDigest } from "../oci/digest.ts";
import { clientAddress, type UrlOptions, urlBuilder } from "./urls.ts";

const DIGEST = parseDigest(`sha256:${"0".repeat(64)}`);
const PLAIN: UrlOptions = { host: undefined, relative: false, prefix: "" };

function blobUrl(headers: Record<string, string>, options: Partial<UrlOptions> = {}, scheme = "http"): string {
  const request = new Request("http://ignored/v2/", { headers: { host: "reg.local:5000", ...headers } });
  return urlBuilder(request, scheme, { ...PLAIN, ...options }).blob("a/b", DIGEST);
}

describe("urlBuilder", () => {
  const tail = `/v2/a/b/blobs/${DIGEST}`;
  const cases: [string, Record<string, string>, string][] = [
    ["nothing", {}, "http://reg.local:5000"],
    ["X-Forwarded-Proto", { "x-forwarded-proto": "https" }, "https://reg.local:5000"],
    ["X-Forwarded-Host", { "x-forwarded-host": "first.example, second.example" }, "http://first.example"],
    ["X-Forwarded-Port is ignored", { "x-forwarded-port": "443" }, "http://reg.local:5000"],
    ["Forwarded", { forwarded: 'proto=https;host="f.example:8443"' }, "https://f.example:8443"],
    ["Forwarded beats X-Forwarded", { forwarded: "proto=https", "x-forwarded-host": "x.example" }, "https://reg.local:5000"],
    ["a malformed Forwarded silences both", { forwarded: "proto", "x-forwarded-proto": "https" }, "http://reg.local:5000"],
    ["IPv6", { "x-forwarded-host": "[2001:db8::1]:5000" }, "http://[2001:db8::1]:5000"],
    ["a host that would break the header is ignored", { "x-forwarded-host": "evil/../x" }, "http://reg.local:5000"],
  ];
  for (const [what, headers, base] of cases) test(what, () => expect(blobUrl(headers)).toBe(base + tail));

  test("TLS on the socket", () => expect(blobUrl({}, {}, "https")).toBe(`https://reg.local:5000${tail}`));
  test("relative", () => expect(blobUrl({}, { relative: true, prefix: "/my/reg" })).toBe(`/my/reg${tail}`));
  test("prefix", () => expect(blobUrl({}, { prefix: "/my/reg" })).toBe(`http://reg.local:5000/my/reg${tail}`));
  test("configured host wins", () => expect(blobUrl({ "x-forwarded-host": "x" }, { host: new URL("https://h.example"), relative: true })).toBe(`https://h.example${tail}`));
  test("configured host with a path is a base URL", () => {
    expect(blobUrl({}, { host: new URL("https://h.example/a/b") })).toBe(`https://h.example/a${tail}`);
    expect(blobUrl({}, { host: new URL("https://h.example/a/b/") })).toBe(`https://h.example/a/b${tail}`);
  });
});

describe("clientAddress", () => {
  const address = (headers: Record<string, string>): string => clientAddress(new Request("http://x/", { headers }), "10.1.1.1");
  test("the socket's", () => expect(address({})).toBe("10.1.1.1"));
  test("the first forwarded one", () => expect(address({ "x-forwarded-for": "192.0.2.7, 10.0.0.1" })).toBe("192.0.2.7"));
  test("no address, no belief", () => expect(address({ "x-forwarded-for": "unknown", "x-real-ip": "192.0.2.8" })).toBe("192.0.2.8"));
});
