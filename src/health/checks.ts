import { statSync } from "node:fs";
import { createConnection } from "node:net";
import type { StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import type { HealthOptions } from "./options.ts";

/** One thing that must be well. Its run rejects with what is wrong, in the words of distribution. */
export interface HealthCheck {
  /** Unique; the key in `/debug/health`. */
  readonly name: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Failures in a row that make it unhealthy. */
  readonly threshold: number;
  run(signal: AbortSignal): Promise<void>;
}

/** Makes the checks that are configured. */
export function configuredChecks(options: HealthOptions, driver: StorageDriver): readonly HealthCheck[] {
  const checks: HealthCheck[] = [];
  const { storagedriver } = options;
  if (storagedriver.enabled) checks.push({ name: `storagedriver_${driver.name}`, ...pace(storagedriver), run: async () => await checkDriver(driver) });
  for (const item of options.file) checks.push({ name: item.file, ...pace({ ...item, threshold: 1 }), run: async () => checkFile(item.file) });
  for (const item of options.http) checks.push({ name: item.uri, ...pace(item), run: async (signal) => await checkHttp(item, signal) });
  for (const item of options.tcp) checks.push({ name: item.addr, ...pace(item), run: async (signal) => await checkTcp(item.addr, signal) });
  return checks;
}

function pace(item: { readonly interval: number; readonly threshold: number; readonly timeout?: number }): { intervalMs: number; timeoutMs: number; threshold: number } {
  const timeout = item.timeout ?? 0;
  return { intervalMs: item.interval, timeoutMs: timeout > 0 ? timeout : item.interval, threshold: Math.max(1, item.threshold) };
}

async function checkDriver(driver: StorageDriver): Promise<void> {
  try {
    await driver.stat("/");
  } catch (error) {
    // An empty store is a healthy one.
    if (!(error instanceof PathNotFoundError)) throw error;
  }
}

function checkFile(file: string): void {
  if (statSync(file, { throwIfNoEntry: false }) !== undefined) throw new Error("file exists");
}

async function checkHttp(item: HealthOptions["http"][number], signal: AbortSignal): Promise<void> {
  const headers = new Headers();
  for (const [name, values] of Object.entries(item.headers)) for (const value of values) headers.append(name, value);
  let response: Response;
  try {
    response = await fetch(item.uri, { method: "HEAD", headers, signal });
  } catch (error) {
    throw new Error(`${item.uri}: error while checking: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  if (response.status !== item.statuscode) throw new Error(`${item.uri}: downstream service returned unexpected status: ${response.status}`);
}

async function checkTcp(address: string, signal: AbortSignal): Promise<void> {
  const colon = address.lastIndexOf(":");
  await new Promise<void>((resolve, reject) => {
    const socket = createConnection({ host: address.slice(0, colon).replace(/^\[|\]$/g, ""), port: Number(address.slice(colon + 1)) });
    const fail = (): void => {
      socket.destroy();
      reject(new Error(`${address}: connection failed`));
    };
    socket.once("connect", () => {
      socket.destroy();
      resolve();
    });
    socket.once("error", fail);
    signal.addEventListener("abort", fail, { once: true });
  });
}
