import type { LineSink } from "../telemetry/line-writer.ts";
import { printable } from "../telemetry/printable.ts";
import { redactUri } from "../telemetry/redact-uri.ts";

/** One request, as the access log tells of it. */
export interface AccessLogEntry {
  /** The socket's address. */
  readonly clientAddress: string;
  readonly method: string;
  readonly uri: string;
  readonly protocol: string;
  readonly status: number;
  readonly bytes: number;
  readonly referer: string;
  readonly userAgent: string;
  readonly requestId: string;
  readonly user: string | undefined;
  readonly repository: string | undefined;
  readonly durationMs: number;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
}

/** Writes a line for every request. */
export interface AccessLog {
  write(entry: AccessLogEntry): void;
}

/** Opens the access log in the Combined Log Format of Apache, as distribution writes it, or as JSON lines. */
export function openAccessLog(formatter: "combined" | "json", sink: LineSink): AccessLog {
  return formatter === "json" ? { write: (entry) => sink.write(jsonLine(entry)) } : { write: (entry) => sink.write(combinedLine(entry)) };
}

function combinedLine(entry: AccessLogEntry): string {
  const request = `${entry.method} ${escape(redactUri(entry.uri))} ${entry.protocol}`;
  return `${entry.clientAddress} - - [${clfTime(entry.startedAt)}] "${request}" ${entry.status} ${entry.bytes} "${escape(entry.referer)}" "${escape(entry.userAgent)}"\n`;
}

function jsonLine(entry: AccessLogEntry): string {
  const { startedAt, durationMs, uri, ...rest } = entry;
  return `${printable(JSON.stringify({ time: new Date(startedAt).toISOString(), ...rest, uri: redactUri(uri), durationMs: Number(durationMs.toFixed(3)) }))}\n`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
let lastSecond = Number.NaN;
let lastTime = "";

// The time changes once a second, requests come by the ten thousand.
function clfTime(ms: number): string {
  const second = Math.floor(ms / 1000);
  if (second === lastSecond) return lastTime;
  const date = new Date(second * 1000);
  const two = (value: number): string => String(value).padStart(2, "0");
  lastSecond = second;
  lastTime = `${two(date.getUTCDate())}/${MONTHS[date.getUTCMonth()] ?? ""}/${date.getUTCFullYear()}:${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())} +0000`;
  return lastTime;
}

/** Printable ASCII but for the quote and the backslash. */
const PLAIN = /^[ !#-[\]-~]*$/;

// A client must not be able to write lines of its own.
function escape(text: string): string {
  return PLAIN.test(text) ? text : printable(JSON.stringify(text).slice(1, -1));
}
