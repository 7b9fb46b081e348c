import { createServer, connect, type Socket } from "node:net";

/** An HTTP proxy on loopback that leads every tunnel to loopback, whatever host it was asked for. */
export interface ConnectProxy extends AsyncDisposable {
  /** For `HTTPS_PROXY`. */
  readonly url: string;
}

/**
 * Starts the proxy: docker takes every registry on loopback for one whose certificate is not to be looked at, so that tests of
 * certificates call theirs by a name that only this proxy knows.
 */
export async function startConnectProxy(): Promise<ConnectProxy> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    sockets.add(client);
    client.once("close", () => sockets.delete(client)).on("error", () => client.destroy());
    client.once("data", (head: Buffer) => tunnel(client, head.toString("latin1")));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the proxy listens on no port");
  return {
    url: `http://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function tunnel(client: Socket, head: string): void {
  const [, port] = /^CONNECT \S+:(\d+) HTTP/.exec(head) ?? [];
  if (port === undefined) return void client.end("HTTP/1.1 405 Method Not Allowed\r\n\r\n");
  const target = connect(Number(port), "127.0.0.1", () => {
    client.write("HTTP/1.1 200 OK\r\n\r\n");
    client.pipe(target).pipe(client);
  });
  target.on("error", () => client.destroy());
  client.once("close", () => target.destroy());
}
