import { join } from "node:path";
import type { Job, JobResult } from "./client.ts";

/** What a storm of small requests came to. */
export interface RequestRate {
  readonly requestsPerSecond: number;
  readonly requests: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** A small request to be repeated. */
export interface SmallRequest {
  readonly url: string;
  readonly method: "GET" | "HEAD";
  readonly headers?: Readonly<Record<string, string>>;
  /** What every answer must be. */
  readonly status: number;
  readonly connections: number;
  readonly seconds: number;
}

/** Repeats a request by wrk, or by our own client where wrk cannot (HEAD: it waits for the body) or is not installed. */
export async function hammer(request: SmallRequest): Promise<RequestRate> {
  return request.method === "GET" && Bun.which("wrk") !== null ? await hammerWithWrk(request) : await hammerWithOwn(request);
}

async function hammerWithOwn(request: SmallRequest): Promise<RequestRate> {
  const url = new URL(request.url);
  if (url.protocol === "https:") throw new Error("wrk is needed to load a TLS server");
  const headers = Object.entries(request.headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `${request.method} ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\n${headers.join("")}\r\n`;
  const { connections, seconds, status } = request;
  const result = await runClient({ kind: "hammer", port: Number(url.port), head, connections, seconds, status });
  return { requestsPerSecond: result.requests / result.seconds, requests: result.requests, p50Ms: result.p50Ms, p99Ms: result.p99Ms };
}

async function hammerWithWrk(request: SmallRequest): Promise<RequestRate> {
  const headers = Object.entries(request.headers ?? {}).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  const output = await run(["wrk", "--threads", "1", "--connections", String(request.connections), "--duration", `${request.seconds}s`, "--latency", ...headers, request.url]);
  const requests = Number(/(\d+) requests in/.exec(output)?.[1]);
  const failed = Number(/Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? 0);
  const socketErrors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(output);
  if (failed !== (request.status >= 400 ? requests : 0)) throw new Error(`${request.url}: ${failed} of ${requests} answers have another status than ${request.status}`);
  if (socketErrors !== null && socketErrors.slice(1).some((count) => count !== "0")) throw new Error(`${request.url}: ${socketErrors[0]}`);
  return {
    requestsPerSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(output)?.[1]),
    requests,
    p50Ms: milliseconds(/50%\s+([\d.]+)(us|ms|s)/.exec(output)),
    p99Ms: milliseconds(/99%\s+([\d.]+)(us|ms|s)/.exec(output)),
  };
}

function milliseconds(match: RegExpExecArray | null): number {
  const unit = { us: 0.001, ms: 1, s: 1000 }[match?.[2] ?? ""];
  if (unit === undefined) throw new Error("wrk did not print a latency");
  return Number(match?.[1]) * unit;
}

/** Runs a job in a client process of its own. */
export async function runClient(job: Job): Promise<JobResult> {
  return JSON.parse(await run([process.execPath, join(import.meta.dir, "client.ts")], JSON.stringify(job))) as JobResult;
}

/** Runs a command that must succeed. @returns Its standard output. */
export async function run(command: readonly string[], stdin = ""): Promise<string> {
  const child = Bun.spawn([...command], { stdin: new Blob([stdin]), stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: status ${exitCode}\n${stderr}`);
  return stdout;
}
