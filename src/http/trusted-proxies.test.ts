import { expect, test } from "bun:test";
import { isAddressRange, TrustedProxies } from "./trusted-proxies.ts";

const proxies = new TrustedProxies(["127.0.0.0/8", "::1", "10.0.0.0/8", "2001:db8::/32"]);

test.each([
  ["the peer, without headers", "192.0.2.1", {}, "192.0.2.1"],
  ["the peer, when it is nobody's proxy", "192.0.2.1", { "x-forwarded-for": "198.51.100.1", "x-real-ip": "198.51.100.1" }, "192.0.2.1"],
  ["who a trusted peer names", "127.0.0.1", { "x-forwarded-for": "198.51.100.1" }, "198.51.100.1"],
  ["who a proxy on a unix socket names", "@", { "x-forwarded-for": "198.51.100.1" }, "198.51.100.1"],
  ["the last who is no proxy, and not what that one says", "127.0.0.1", { "x-forwarded-for": "203.0.113.9, 198.51.100.1, 10.1.2.3" }, "198.51.100.1"],
  ["the first, when all are proxies", "127.0.0.1", { "x-forwarded-for": "10.0.0.2, 10.0.0.1" }, "10.0.0.2"],
  ["the proxy, when it names nobody", "127.0.0.1", { "x-forwarded-for": "unknown" }, "127.0.0.1"],
  ["the last proxy before nonsense", "127.0.0.1", { "x-forwarded-for": "198.51.100.1, nonsense, 10.0.0.1" }, "10.0.0.1"],
  ["an address without its port", "127.0.0.1", { "x-forwarded-for": "198.51.100.1:4711" }, "198.51.100.1"],
  ["an address of IPv6", "::1", { "x-forwarded-for": "[2001:db9::1]:443, 2001:db8::5" }, "2001:db9::1"],
  ["X-Real-Ip of a trusted peer", "10.0.0.1", { "x-real-ip": "198.51.100.1" }, "198.51.100.1"],
  ["X-Forwarded-For before X-Real-Ip", "10.0.0.1", { "x-forwarded-for": "198.51.100.1", "x-real-ip": "198.51.100.2" }, "198.51.100.1"],
] as const)("the client is %s", (_, peer, headers, expected) => expect(proxies.clientOf(new Headers(headers), peer)).toBe(expected));

test("nobody is trusted when nobody is named", () => {
  expect(new TrustedProxies([]).clientOf(new Headers({ "x-forwarded-for": "198.51.100.1" }), "127.0.0.1")).toBe("127.0.0.1");
});

test.each(["10.0.0.0/8", "192.0.2.1", "0.0.0.0/0", "::/0", "2001:db8::/32", "::1/128"])("%s is a range", (text) => expect(isAddressRange(text)).toBe(true));
test.each(["", "10.0.0.0/33", "10.0.0/8", "proxy.test", "10.0.0.0/8/8", "10.0.0.0/", "::/129", "fe80::1%eth0", "10.0.0.0/x"])("%p is none", (text) => expect(isAddressRange(text)).toBe(false));
