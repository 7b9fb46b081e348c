import { connect, createServer, type Socket } from "node:net";

/** A proxy that leads names of the internet to this machine. */
export interface ConnectProxy extends AsyncDisposable {
  /** For HTTPS_PROXY. */
  readonly url: string;
  /** Names that were asked for. */
  readonly asked: Set<string>;
}

/** Starts a proxy that knows CONNECT, and leads every name that is served to one port. */
export async function startConnectProxy(port: number, isServed: (host: string) => boolean): Promise<ConnectProxy> {
  const asked = new Set<string>();
  const sockets = new Set<Socket>();
  const proxy = createServer((client) => {
    sockets.add(client);
    client.on("error", () => undefined);
    client.on("close", () => sockets.delete(client));
    client.once("data", (data) => {
      const [, host] = /^CONNECT ([^:]+):443 HTTP/.exec(data.toString("latin1")) ?? [];
      if (host === undefined || !isServed(host)) return void client.end("HTTP/1.1 403 Forbidden\r\n\r\n");
      asked.add(host);
      const upstream = connect(port, "127.0.0.1", () => {
        client.write("HTTP/1.1 200 Connection Established\r\n\r\n");
        client.pipe(upstream).pipe(client);
      });
      upstream.on("error", () => client.destroy());
      client.on("close", () => upstream.destroy());
    });
  });
  await new Promise<void>((resolve) => void proxy.listen(0, "127.0.0.1", resolve));
  const address = proxy.address();
  return {
    url: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`,
    asked,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => void proxy.close(resolve));
    },
  };
}
