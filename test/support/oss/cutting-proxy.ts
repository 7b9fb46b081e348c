import { connect, createServer, type Socket } from "node:net";

/** A piece of network between a client and a server that can be made to fail in the middle of an answer. */
export interface CuttingProxy extends AsyncDisposable {
  /** For instance `http://127.0.0.1:41234`. */
  readonly endpoint: string;
  /** What happens to the next connection over which so many bytes have come back since this was set: it breaks, or nothing more comes. */
  next: { readonly kind: "break" | "stall"; readonly afterBytes: number } | undefined;
}

/** Starts a proxy for a server on loopback. */
export async function startCuttingProxy(target: string): Promise<CuttingProxy> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  const listener = createServer((client) => {
    const server = connect(Number(port), hostname);
    for (const [from, to] of [[client, server], [server, client]] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
    client.on("data", (bytes) => void server.write(bytes));
    let receivedBytes = 0;
    let fault: CuttingProxy["next"];
    server.on("data", (bytes: Buffer) => {
      if (fault?.kind === "stall") return;
      const { next } = proxy;
      receivedBytes = next === undefined ? 0 : receivedBytes + bytes.length;
      if (next === undefined || receivedBytes < next.afterBytes) return void client.write(bytes);
      fault = next;
      proxy.next = undefined;
      client.write(bytes.subarray(0, bytes.length - (receivedBytes - next.afterBytes)));
      if (next.kind === "break") client.end();
    });
  });
  await new Promise<void>((resolve) => void listener.listen(0, "127.0.0.1", resolve));
  const address = listener.address();
  const proxy: CuttingProxy = {
    endpoint: `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`,
    next: undefined,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => void listener.close(resolve));
    },
  };
  return proxy;
}
