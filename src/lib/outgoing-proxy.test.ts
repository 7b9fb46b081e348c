import { expect, test } from "bun:test";
import { outgoingProxy } from "./outgoing-proxy.ts";

test.each([
  ["http://localhost:5000/", true],
  ["http://127.0.0.1/", true],
  ["http://127.9.9.9/", true],
  ["http://[::1]:5000/", true],
  ["http://10.0.0.1/", false],
  ["http://localhost.test/", false],
  ["http://127.0.0.1.test/", false],
])("outgoingProxy: %s is asked directly: %p", (url, direct) => {
  expect(outgoingProxy(new URL(url))).toEqual(direct ? { proxy: false } : {});
});
