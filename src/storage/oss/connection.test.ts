import { describe, expect, test } from "bun:test";
import { endpointOf, publicEndpointOf, signingRegion } from "./connection.ts";

const BASE = { bucket: "images", region: "oss-cn-hangzhou", endpoint: undefined, secure: true, internal: false } as const;

describe("endpointOf", () => {
  test.each([
    ["the bucket's name in the region", {}, "https://images.oss-cn-hangzhou.aliyuncs.com"],
    ["a region without its prefix", { region: "cn-hangzhou" }, "https://images.oss-cn-hangzhou.aliyuncs.com"],
    ["internal", { internal: true }, "https://images.oss-cn-hangzhou-internal.aliyuncs.com"],
    ["internal of what is internal", { internal: true, region: "oss-cn-hangzhou-internal" }, "https://images.oss-cn-hangzhou-internal.aliyuncs.com"],
    ["a region of the old private network", { internal: true, region: "vpc100-oss-cn-beijing" }, "https://images.vpc100-oss-cn-beijing.aliyuncs.com"],
    ["secure", { secure: false }, "http://images.oss-cn-hangzhou.aliyuncs.com"],
    ["the bucket's own host", { endpoint: "images.oss-cn-hangzhou-internal.aliyuncs.com" }, "https://images.oss-cn-hangzhou-internal.aliyuncs.com"],
    ["the host of a region", { endpoint: "oss-accelerate.aliyuncs.com" }, "https://images.oss-accelerate.aliyuncs.com"],
    ["a domain bound to the bucket", { endpoint: "blobs.example.com:8443", secure: false }, "http://blobs.example.com:8443"],
    ["a URL, over secure", { endpoint: "http://blobs.example.com/" }, "http://blobs.example.com"],
    ["an empty endpoint", { endpoint: "" }, "https://images.oss-cn-hangzhou.aliyuncs.com"],
  ])("minds %s", (_, options, expected) => {
    expect(endpointOf({ ...BASE, ...options })).toBe(expected);
  });
});

describe("publicEndpointOf", () => {
  test.each([
    ["as the server, by default", {}, "https://images.oss-cn-hangzhou.aliyuncs.com"],
    ["to the internal network when told so", { internal: true }, "https://images.oss-cn-hangzhou-internal.aliyuncs.com"],
    ["outside of it otherwise", { endpoint: "images.oss-cn-hangzhou-internal.aliyuncs.com" }, "https://images.oss-cn-hangzhou.aliyuncs.com"],
    ["to a domain bound to the bucket", { endpoint: "blobs.example.com" }, "https://blobs.example.com"],
  ])("leads clients %s", (_, options, expected) => {
    expect(publicEndpointOf({ ...BASE, ...options })).toBe(expected);
  });
});

test("signingRegion takes off what belongs to hosts", () => {
  for (const region of ["cn-hangzhou", "oss-cn-hangzhou", "vpc100-oss-cn-hangzhou", "oss-cn-hangzhou-internal"]) expect(signingRegion(region)).toBe("cn-hangzhou");
});
