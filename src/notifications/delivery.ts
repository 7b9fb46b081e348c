import { createHmac } from "node:crypto";
import { STATUS_CODES } from "node:http";
import { outgoingProxy } from "../lib/outgoing-proxy.ts";
import type { RenderedEvent } from "./envelope.ts";

/** The header that carries the signature of a body: `sha256=` and the hex of its HMAC-SHA256 under the endpoint's secret. */
export const SIGNATURE_HEADER = "X-Registry-Signature-256";

/** Headers that are not configured. */
const OF_THE_BODY: readonly string[] = ["content-type", SIGNATURE_HEADER.toLowerCase()];
const MAX_REDIRECTS = 10;
const MAX_DRAINED_BYTES = 64 * 1024;

/** Where and how events are posted. */
export interface DeliveryTarget {
  readonly url: string;
  /** Added to every request. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
  /** For the whole exchange, redirects included. */
  readonly timeoutMs: number;
  /** Signs every body; undefined for no signature. */
  readonly secret: string | undefined;
}

/** How an endpoint answered. */
export interface DeliveryAnswer {
  readonly status: number;
  /** As in `200 OK`; not in the endpoint's own words, which might be others each time. */
  readonly text: string;
}

interface Attempt {
  readonly method: "GET" | "POST";
  readonly url: URL;
  readonly headers: Headers;
  readonly body: string | null;
}

/**
 * Posts an event. Redirects are followed as Go's client does: 301, 302 and 303 go on as a GET without a body, 307 and 308 repeat the
 * request, and a redirect to nowhere is the answer.
 * @throws Error when there was no answer: not reached, too slow, ten redirects.
 */
export async function deliver(target: DeliveryTarget, event: RenderedEvent, signal: AbortSignal): Promise<DeliveryAnswer> {
  const limit = new AbortController();
  const stop = (): void => limit.abort(signal.reason);
  const timer = setTimeout(() => limit.abort(new Error(`no answer within ${target.timeoutMs} ms`)), target.timeoutMs);
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await follow(firstAttempt(target, event), limit.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}

/** Whether an answer means that the event has arrived. */
export function isAccepted(answer: DeliveryAnswer): boolean {
  return answer.status >= 200 && answer.status < 400;
}

async function follow(first: Attempt, signal: AbortSignal): Promise<DeliveryAnswer> {
  let attempt = first;
  for (let redirects = 0; redirects < MAX_REDIRECTS; redirects++) {
    const { url, ...init } = attempt;
    const response = await fetch(url, { ...init, ...outgoingProxy(url), redirect: "manual", signal });
    await drain(response);
    const next = redirected(attempt, response);
    if (next === undefined) return { status: response.status, text: `${response.status} ${STATUS_CODES[response.status] ?? ""}`.trimEnd() };
    attempt = next;
  }
  throw new Error(`stopped after ${MAX_REDIRECTS} redirects`);
}

function firstAttempt(target: DeliveryTarget, event: RenderedEvent): Attempt {
  const url = new URL(target.url);
  const headers = new Headers();
  for (const [name, values] of Object.entries(target.headers)) for (const value of values) headers.append(name, value);
  headers.set("content-type", event.contentType);
  if (target.secret !== undefined) headers.set(SIGNATURE_HEADER, `sha256=${createHmac("sha256", target.secret).update(event.body).digest("hex")}`);
  if (url.username !== "" && !headers.has("authorization")) {
    headers.set("authorization", `Basic ${Buffer.from(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`).toString("base64")}`);
  }
  url.username = "";
  url.password = "";
  return { method: "POST", url, headers, body: event.body };
}

function redirected(from: Attempt, response: Response): Attempt | undefined {
  const location = response.headers.get("location");
  if (location === null || ![301, 302, 303, 307, 308].includes(response.status)) return undefined;
  const url = new URL(location, from.url);
  if (url.protocol !== "https:" && url.protocol !== "http:") throw new Error(`redirected to ${url.protocol}, expected http: or https:`);
  const headers = new Headers(from.headers);
  // All that is configured may be a credential.
  if (!isSameParty(from.url, url)) for (const name of from.headers.keys()) if (!OF_THE_BODY.includes(name)) headers.delete(name);
  if (response.status >= 307) return { ...from, url, headers };
  for (const name of OF_THE_BODY) headers.delete(name);
  return { method: "GET", url, headers, body: null };
}

/** Whether what is for one URL's host may be sent to another URL: to the same host and port, and never from HTTPS down to HTTP. */
export function isSameParty(from: URL, to: URL): boolean {
  return from.host === to.host && (to.protocol === "https:" || from.protocol === to.protocol);
}

// A body that is read to its end lets the connection serve the next event.
async function drain(response: Response): Promise<void> {
  if (Number(response.headers.get("content-length") ?? Number.NaN) <= MAX_DRAINED_BYTES) await response.arrayBuffer();
  else await response.body?.cancel();
}
