/** A command as it came: its words. */
export type RedisCommand = readonly string[];

/** A server that speaks just enough of Redis' protocol to be connected to, and answers as a test wants. */
export interface FakeRedis extends Disposable {
  readonly port: number;
  readonly address: string;
  /** Every command that came, in order. */
  readonly commands: readonly RedisCommand[];
  /** When connections came, by the clock of `performance`. */
  readonly connections: readonly number[];
}

/**
 * Starts one.
 * @param answer What a command is answered, as bytes of the protocol; undefined for what any server would; `gone` ends the server.
 * @param admits Whether the connection with this number, from 0, is taken, and not closed at once.
 */
export function startFakeRedis(answer: (command: RedisCommand) => string | undefined = () => undefined, admits: (connection: number) => boolean = () => true): FakeRedis {
  const commands: RedisCommand[] = [];
  const connections: number[] = [];
  const listener = Bun.listen<undefined>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        connections.push(performance.now());
        if (!admits(connections.length - 1)) socket.end();
      },
      data(socket, bytes) {
        for (const command of readCommands(bytes.toString("latin1"))) {
          commands.push(command);
          const bytes = answer(command) ?? usualAnswer(command);
          if (bytes === "gone") listener.stop(true);
          else socket.write(bytes);
        }
      },
    },
  });
  return { port: listener.port, address: `127.0.0.1:${listener.port}`, commands, connections, [Symbol.dispose]: () => listener.stop(true) };
}

/** The bytes of a text. */
export function bulk(text: string): string {
  return `$${Buffer.byteLength(text)}\r\n${text}\r\n`;
}

function usualAnswer([name = ""]: RedisCommand): string {
  switch (name.toLowerCase()) {
    case "hello":
      return "-ERR unknown command 'HELLO'\r\n";
    case "info":
      return bulk("# Server\r\nredis_version:6.0.0\r\nloading:0\r\n");
    case "cluster":
      return bulk("cluster_state:ok\r\n");
    default:
      return "+OK\r\n";
  }
}

/** Commands are small, and come whole. */
function readCommands(text: string): readonly RedisCommand[] {
  return text
    .split(/^\*\d+\r\n/m)
    .filter((part) => part !== "")
    .map((part) => [...part.matchAll(/\$\d+\r\n(.*)\r\n/g)].map(([, word = ""]) => word));
}
