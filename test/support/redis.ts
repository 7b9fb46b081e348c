import { join } from "node:path";
import { type Child, startChild } from "./child.ts";
import { freePort } from "./free-port.ts";
import { tempFolder } from "./temp-folder.ts";

/** A Redis server of a test. */
export interface TestRedis extends AsyncDisposable {
  readonly port: number;
  /** As `redis.addrs` wants it. */
  readonly address: string;
  /** Ends it at once, as a crash would. */
  kill(): Promise<void>;
  /** Starts it anew on the same port; without persistence, so it is empty. */
  restart(): Promise<void>;
  /** Lets it hang, or go on: it stays connected and does not answer. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void;
  /** Asks it by redis-cli. @returns What that prints, trimmed. */
  cli(...command: readonly string[]): Promise<string>;
}

/** Starts Debian's redis-server on a free port of the loopback. @param lines More lines of its configuration; `%d` is its folder. */
export async function startRedis(lines: readonly string[] = [], options: { readonly sentinel?: boolean; readonly cliArguments?: readonly string[] } = {}): Promise<TestRedis> {
  const folder = await tempFolder();
  const port = freePort();
  const isTls = lines.some((line) => line.startsWith("tls-cert-file"));
  const config = join(folder.path, "redis.conf");
  const listen = isTls ? ["port 0", `tls-port ${port}`] : [`port ${port}`];
  await Bun.write(config, [...listen, "bind 127.0.0.1", `dir ${folder.path}`, ...(options.sentinel === true ? [] : ['save ""', "appendonly no"]), ...lines.map((line) => line.replaceAll("%d", folder.path)), ""].join("\n"));
  let child = await start();
  async function start(): Promise<Child> {
    const started = startChild(["redis-server", config, ...(options.sentinel === true ? ["--sentinel"] : [])]);
    await started.waitForOutput(options.sentinel === true ? /Sentinel ID is/ : /Ready to accept connections/);
    return started;
  }
  return {
    port,
    address: `127.0.0.1:${port}`,
    async kill() {
      await child.stop("SIGKILL");
    },
    async restart() {
      child = await start();
    },
    signal: (signal) => void process.kill(child.pid, signal),
    async cli(...command) {
      const asked = Bun.spawn(["redis-cli", "-p", String(port), ...(options.cliArguments ?? []), ...command], { stdout: "pipe", stderr: "pipe" });
      return (await asked.stdout.text()).trim();
    },
    async [Symbol.asyncDispose]() {
      await child.stop("SIGKILL");
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Starts a cluster of three masters. */
export async function startRedisCluster(): Promise<AsyncDisposable & { readonly nodes: readonly TestRedis[] }> {
  const stack = new AsyncDisposableStack();
  const nodes: TestRedis[] = [];
  for (let index = 0; index < 3; index++) nodes.push(stack.use(await startRedis(["cluster-enabled yes", `cluster-port ${freePort()}`, "cluster-config-file %d/nodes.conf"])));
  const made = Bun.spawn(["redis-cli", "--cluster", "create", ...nodes.map((node) => node.address), "--cluster-yes"], { stdout: "pipe", stderr: "pipe" });
  const output = await made.stdout.text();
  if ((await made.exited) !== 0) throw new Error(`no cluster could be made:\n${output}`);
  for (let tries = 0; tries < 100; tries++) {
    const states = await Promise.all(nodes.map((node) => node.cli("cluster", "info")));
    if (states.every((state) => state.includes("cluster_state:ok"))) break;
    await Bun.sleep(100);
  }
  return { nodes, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
