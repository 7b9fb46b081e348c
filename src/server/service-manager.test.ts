import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { notifyServiceManager } from "./service-manager.ts";

/** Runs socat as the service manager: it prints the first datagram that it gets. */
async function received(listen: string, send: () => void): Promise<string> {
  const socat = Bun.spawn(["socat", "-u", listen, "-"], { stdout: "pipe", stderr: "pipe" });
  try {
    const deadline = Date.now() + 5000;
    for (;;) {
      try {
        send();
        break;
      } catch (error) {
        // Not listening yet.
        if (Date.now() > deadline) throw error;
        await Bun.sleep(20);
      }
    }
    const { value } = await socat.stdout.getReader().read();
    return new TextDecoder().decode(value);
  } finally {
    socat.kill();
    await socat.exited;
  }
}

test("notifyServiceManager sends a datagram to a socket in the file system", async () => {
  const folder = await mkdtemp(join(tmpdir(), "notify-"));
  const socket = join(folder, "socket");
  try {
    expect(await received(`UNIX-RECV:${socket}`, () => notifyServiceManager(socket, "READY=1"))).toBe("READY=1");
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("notifyServiceManager sends a datagram to an abstract socket", async () => {
  const name = `registry-notify-${process.pid}`;
  expect(await received(`ABSTRACT-RECV:${name}`, () => notifyServiceManager(`@${name}`, "STOPPING=1"))).toBe("STOPPING=1");
});

test("notifyServiceManager does nothing when nobody listens for it", () => {
  notifyServiceManager(undefined, "READY=1");
  notifyServiceManager("", "READY=1");
});

test("notifyServiceManager says which socket it could not reach", () => {
  expect(() => notifyServiceManager("/nowhere/socket", "READY=1")).toThrow("NOTIFY_SOCKET /nowhere/socket: cannot send to it");
  expect(() => notifyServiceManager(`/${"x".repeat(200)}`, "READY=1")).toThrow("longer than 107 bytes");
});
