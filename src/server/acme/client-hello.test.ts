import { expect, test } from "bun:test";
import { connect } from "node:tls";
import { readClientHello } from "./client-hello.ts";

/** The first bytes of a real client. */
async function greeting(options: { readonly servername?: string; readonly ALPNProtocols?: string[] }): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data(socket, bytes) {
        resolve(Buffer.from(bytes));
        socket.terminate();
      },
    },
  });
  const client = connect({ host: "127.0.0.1", port: listener.port, ...options }).on("error", () => undefined);
  const bytes = await promise;
  client.destroy();
  listener.stop(true);
  return bytes;
}

test("reads host and protocols, however the bytes come", async () => {
  const bytes = await greeting({ servername: "Registry.test", ALPNProtocols: ["acme-tls/1", "http/1.1"] });
  const expected = { serverName: "registry.test", protocols: ["acme-tls/1", "http/1.1"] };
  expect(readClientHello(bytes)).toEqual(expected);
  expect(readClientHello(Buffer.concat([bytes, Buffer.from("more")]))).toEqual(expected);
  for (let length = 0; length < bytes.length; length++) expect(readClientHello(bytes.subarray(0, length))).toBe("incomplete");
});

test("reads a message that is spread over records", async () => {
  const bytes = await greeting({ servername: "registry.test" });
  const message = bytes.subarray(5);
  const record = (part: Buffer): Buffer => Buffer.concat([Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part]);
  const spread = Buffer.concat([record(message.subarray(0, 2)), record(message.subarray(2, 50)), record(message.subarray(50))]);
  expect(readClientHello(spread)).toEqual({ serverName: "registry.test", protocols: [] });
  expect(readClientHello(spread.subarray(0, 60))).toBe("incomplete");
});

test("takes no time for a message in records of one byte each, which come byte by byte", () => {
  const message = [1, 0, 0x20, 0, ...Array.from({ length: 0x2000 }, () => 0)];
  const bytes = Uint8Array.from(message.slice(0, 2000).flatMap((byte) => [22, 3, 1, 0, 1, byte]));
  const startedAt = performance.now();
  for (let length = 1; length <= bytes.length; length += 10) expect(readClientHello(bytes.subarray(0, length))).toBe("incomplete");
  // A copy of everything for each record would take minutes.
  expect(performance.now() - startedAt).toBeLessThan(10_000);
});

test.each([
  ["HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ["an alert", Buffer.from([21, 3, 1, 0, 2, 1, 0])],
  ["another message", Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0])],
  ["a message of a megabyte", Buffer.from([22, 3, 1, 0, 4, 1, 16, 0, 0])],
  ["fields that reach beyond the message", Buffer.concat([Buffer.from([22, 3, 1, 0, 40, 1, 0, 0, 36]), Buffer.alloc(34), Buffer.from([200, 0])])],
  ["records without content", Buffer.concat(Array.from({ length: 5000 }, () => Buffer.from([22, 3, 1, 0, 0])))],
])("%s is no greeting", (_, bytes) => expect(readClientHello(bytes)).toBeUndefined());

test("noise is never more than no greeting", () => {
  for (let seed = 0; seed < 2000; seed++) {
    const noise = new Bun.CryptoHasher("sha512").update(String(seed)).digest();
    const bytes = Buffer.concat([Buffer.from([22, 3, 1, 0, 64, 1, 0, 0, 60]), Buffer.alloc(34), noise]).subarray(0, 69);
    expect(readClientHello(bytes)).not.toBe("incomplete");
  }
});
