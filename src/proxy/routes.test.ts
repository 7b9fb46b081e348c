import { describe, expect, test } from "bun:test";
import { SYSTEM_CLOCK } from "../lib/clock.ts";
import { parseName } from "../oci/name.ts";
import { compileGlob } from "./globs.ts";
import { type Remote, Routes } from "./routes.ts";
import { Upstream } from "./upstream.ts";

function remote(url: string, more: Partial<Remote> = {}): Remote {
  const upstream = new Upstream({ url: new URL(url), credentials: async () => undefined, trustedRealms: [], tls: undefined, maxManifestBytes: 1, clock: SYSTEM_CLOCK, metrics: undefined });
  return { prefix: undefined, upstream, namespaces: [], allow: [], deny: [], ttlMs: 0, tagTtlMs: 0, ...more };
}

const HUB = "https://registry-1.docker.io";
const SEVERAL = new Routes(
  [remote(HUB, { prefix: "docker.io" }), remote("https://ghcr.io", { prefix: "ghcr.io" }), remote("https://mirror.test:8443", { prefix: "ghcr.io/special", namespaces: ["special.test"] })],
  [compileGlob("ours/**")],
);

describe("Routes.route", () => {
  test.each([
    ["ghcr.io/org/app", "https://ghcr.io", "ghcr.io/org/app", "org/app"],
    ["ghcr.io/special/app", "https://mirror.test:8443", "ghcr.io/special/app", "app"],
    ["docker.io/library/nginx", HUB, "docker.io/library/nginx", "library/nginx"],
    ["docker.io/nginx", HUB, "docker.io/library/nginx", "library/nginx"],
    ["docker.io/org/app", HUB, "docker.io/org/app", "org/app"],
  ])("leads %s to its upstream", (name, url, repository, upstreamName) => {
    const route = SEVERAL.route(parseName(name));
    if (route.kind !== "mirror") throw new Error("expected a mirror");
    expect([`https://${route.remote.upstream.host}`, route.repository as string, route.upstreamName]).toEqual([url, repository, upstreamName]);
  });

  test("keeps what is ours from every upstream", () => {
    expect(SEVERAL.route(parseName("ours/app"))).toEqual({ kind: "local" });
    const all = new Routes([remote(HUB)], [compileGlob("ours/**")]);
    expect(all.route(parseName("ours/app"))).toEqual({ kind: "local" });
    expect(all.route(parseName("others/app"))).toMatchObject({ kind: "mirror" });
  });

  test("lets a prefix go before what is ours", () => {
    const routes = new Routes([remote("https://ghcr.io", { prefix: "ghcr.io" })], [compileGlob("**")]);
    expect(routes.route(parseName("ghcr.io/org/app"))).toMatchObject({ kind: "mirror" });
    expect(routes.route(parseName("org/app"))).toEqual({ kind: "local" });
  });

  test("refuses what belongs nowhere", () => {
    expect(() => SEVERAL.route(parseName("org/app"))).toThrow(expect.objectContaining({ code: "NAME_UNKNOWN" }));
    expect(() => SEVERAL.route(parseName("ghcr.io"))).toThrow(expect.objectContaining({ code: "NAME_UNKNOWN" }));
  });

  test("holds to what may be mirrored", () => {
    const routes = new Routes([remote("https://ghcr.io", { prefix: "ghcr.io", allow: [compileGlob("org/**")], deny: [compileGlob("org/secret")] })], []);
    expect(routes.route(parseName("ghcr.io/org/app"))).toMatchObject({ kind: "mirror" });
    for (const name of ["ghcr.io/org/secret", "ghcr.io/other/app"]) expect(() => routes.route(parseName(name))).toThrow(expect.objectContaining({ code: "DENIED" }));
  });
});

describe("Routes.resolveNamespace", () => {
  test.each([
    ["ghcr.io", "org/app", "ghcr.io/org/app"],
    ["docker.io", "library/nginx", "docker.io/library/nginx"],
    ["registry-1.docker.io", "library/nginx", "docker.io/library/nginx"],
    ["special.test", "app", "ghcr.io/special/app"],
    ["mirror.test:8443", "app", "ghcr.io/special/app"],
  ])("maps %s and %s", (namespace, name, expected) => {
    expect(SEVERAL.resolveNamespace(namespace, parseName(name))).toBe(parseName(expected));
  });

  test("refuses a name space that is not mirrored, where several are", () => {
    expect(() => SEVERAL.resolveNamespace("quay.io", parseName("org/app"))).toThrow(expect.objectContaining({ code: "NAME_UNKNOWN" }));
  });

  test("does not look at the name space where one upstream serves all", () => {
    const routes = new Routes([remote(HUB)], []);
    for (const namespace of ["docker.io", "quay.io"]) expect(routes.resolveNamespace(namespace, parseName("org/app"))).toBe(parseName("org/app"));
  });
});
