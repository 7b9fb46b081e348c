import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { isErrno } from "./errno.ts";

/** Which process it is, told apart from later ones of the same number and from those in other containers and on other hosts. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it began, in ticks since the boot; empty where the system does not tell. */
  readonly startedTicks: string;
  readonly host: string;
  /** The boot that the host is in; empty where the system does not tell. */
  readonly bootId: string;
  /** Within what its number is a number: containers have one each. Empty where the system does not tell. */
  readonly pidNamespace: string;
}

/** This process. */
export function ownIdentity(): ProcessIdentity {
  return {
    pid: process.pid,
    startedTicks: startedTicks(process.pid),
    host: hostname(),
    bootId: textOrNothing(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()),
    pidNamespace: textOrNothing(() => readlinkSync("/proc/self/ns/pid")),
  };
}

/** Whether a process has certainly ended; false where it cannot be known, as on another host. */
export function hasEnded(other: ProcessIdentity, own: ProcessIdentity): boolean {
  if (other.host !== own.host || other.bootId !== own.bootId || other.pidNamespace !== own.pidNamespace) return false;
  if (!isRunning(other.pid)) return true;
  const ticks = startedTicks(other.pid);
  return ticks !== "" && other.startedTicks !== "" && ticks !== other.startedTicks;
}

/** Reads what `JSON.stringify` made of an identity; undefined for anything else. */
export function parseIdentity(json: string): ProcessIdentity | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return isIdentity(value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isIdentity(value: unknown): value is ProcessIdentity {
  if (typeof value !== "object" || value === null) return false;
  const { pid, startedTicks: ticks, host, bootId, pidNamespace } = value as Partial<Record<keyof ProcessIdentity, unknown>>;
  return typeof pid === "number" && pid > 0 && [ticks, host, bootId, pidNamespace].every((text) => typeof text === "string");
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Anything else (EPERM) says that there is one.
    return !isErrno(error, "ESRCH");
  }
}

function startedTicks(pid: number): string {
  const stat = textOrNothing(() => readFileSync(`/proc/${pid}/stat`, "utf8"));
  // The second field is the name in brackets, with any characters in it; the start is the 22nd.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}

/** There is no /proc outside Linux, and parts of it may be hidden. */
function textOrNothing(read: () => string): string {
  try {
    return read();
  } catch {
    return "";
  }
}
