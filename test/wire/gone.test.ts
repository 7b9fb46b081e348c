import { expect, test } from "bun:test";
import { connect } from "node:net";
import { startRegistry } from "../support/registry-process.ts";

const ROUNDS = 100;

/** Sends a request and resets the connection at once: when the request is read nobody is there any more. */
async function sendAndVanish(port: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.write("GET /v2/gone/manifests/x HTTP/1.1\r\nHost: registry\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n", () => socket.resetAndDestroy());
    });
    socket.on("error", () => undefined);
    socket.on("close", () => resolve());
  });
}

test("a client that is gone before its request is read is not taken for a proxy on this machine, whose word is believed", async () => {
  await using registry = await startRegistry();
  for (let round = 0; round < ROUNDS; round++) await sendAndVanish(registry.port);
  await fetch(`${registry.url}/v2/last/manifests/x`);
  await registry.child.waitForOutput(/^\S+ - - .*\/v2\/last\/manifests\/x/m);
  const addresses = [...registry.child.output().matchAll(/^(\S+) - - .*\/v2\/gone\/manifests\/x/gm)].map(([, address]) => address);
  expect(addresses.filter((address) => address !== "127.0.0.1" && address !== "?")).toEqual([]);
});
