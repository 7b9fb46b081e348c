import { join } from "node:path";
import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../telemetry/log.ts";
import { redactUri } from "../telemetry/redact-uri.ts";
import { DiskQueue } from "./disk-queue.ts";
import { Endpoint, type EndpointCounts, type EndpointMetrics } from "./endpoint.ts";
import { toEnvelopeEvent } from "./envelope.ts";
import type { EventOrigin, EventSink, RegistryEvent } from "./event.ts";
import { MemoryQueue } from "./memory-queue.ts";
import type { EndpointOptions, NotificationOptions } from "./options.ts";
import type { EventQueue } from "./queue.ts";

/** What notifications need of the program. */
export interface NotificationParts {
  readonly log: Logger;
  readonly clock: Clock;
  /** Host name and port of the registry's listener; `source.addr` of every event. */
  readonly sourceAddress: string;
  /** New for every start of the program; `source.instanceID` of every event. */
  readonly instanceId: string;
  readonly metrics?: EndpointMetrics;
}

/** An endpoint as `/debug/vars` shows it, in distribution's spelling. Values of headers are left out: they hold credentials. */
export interface EndpointVars {
  readonly name: string;
  readonly url: string;
  readonly Headers: Readonly<Record<string, readonly string[]>> | null;
  /** Nanoseconds. */
  readonly Timeout: number;
  readonly Threshold: number;
  /** Nanoseconds. */
  readonly Backoff: number;
  readonly IgnoredMediaTypes: readonly string[] | null;
  readonly Ignore: { readonly MediaTypes: readonly string[] | null; readonly Actions: readonly string[] | null };
  readonly Metrics: EndpointCounts;
}

/**
 * Opens the queues and starts the deliveries; those of events that an earlier run left on disk, too.
 * @throws Error when a queue on disk cannot be used.
 */
export function openNotifications(options: NotificationOptions, parts: NotificationParts): Notifications {
  refuseTwins(options);
  const endpoints: OpenEndpoint[] = [];
  for (const endpoint of options.endpoints) {
    if (endpoint.disabled) parts.log.info("notification endpoint is disabled", { endpoint: endpoint.name });
    else endpoints.push({ options: endpoint, endpoint: openEndpoint(endpoint, options.directory, parts) });
  }
  return new Notifications(endpoints, { ...parts, includeReferences: options.events.includereferences });
}

interface OpenEndpoint {
  readonly options: EndpointOptions;
  readonly endpoint: Endpoint;
}

/** Tells listeners what happens. Taking an event costs next to nothing when nobody listens, and never waits for who does. */
export class Notifications implements EventSink, AsyncDisposable {
  readonly #endpoints: readonly OpenEndpoint[];
  readonly #parts: NotificationParts & { readonly includeReferences: boolean };

  constructor(endpoints: readonly OpenEndpoint[], parts: NotificationParts & { readonly includeReferences: boolean }) {
    this.#endpoints = endpoints;
    this.#parts = parts;
  }

  emit(event: RegistryEvent, origin: EventOrigin): void {
    const listeners = this.#endpoints.filter(({ endpoint }) => endpoint.wants(event));
    if (listeners.length === 0) return;
    const { clock, sourceAddress, instanceId, includeReferences } = this.#parts;
    const completed = toEnvelopeEvent(event, origin, {
      id: crypto.randomUUID(),
      timestamp: new Date(clock.now()).toISOString(),
      source: { addr: sourceAddress, instanceID: instanceId },
      includeReferences,
    });
    for (const { endpoint } of listeners) endpoint.push(completed);
  }

  /**
   * Waits until everything is delivered, `timeoutMs` at most. A queue on disk whose listener is away is not waited for.
   * @returns How many events still wait.
   */
  async flush(timeoutMs: number): Promise<number> {
    const giveUp = new AbortController();
    const delivered = Promise.all(this.#endpoints.map(({ endpoint }) => endpoint.whenIdle()));
    await Promise.race([delivered, this.#parts.clock.sleep(timeoutMs, giveUp.signal)]);
    giveUp.abort();
    return this.#endpoints.reduce((sum, { endpoint }) => sum + endpoint.counts().Pending, 0);
  }

  /** Ends all deliveries. What waits in memory is lost and said so in the log; what waits on disk is delivered after the next start. */
  async close(): Promise<void> {
    await Promise.all(
      this.#endpoints.map(async ({ options, endpoint }) => {
        const lost = await endpoint.close();
        if (lost > 0) this.#parts.log.error("events are lost with the process", { endpoint: options.name, lost });
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** What `/debug/vars` shows as `registry.notifications.endpoints`; null when there are none. */
  vars(): readonly EndpointVars[] | null {
    return this.#endpoints.length === 0 ? null : this.#endpoints.map(({ options, endpoint }) => endpointVars(options, endpoint));
  }
}

function openEndpoint(options: EndpointOptions, directory: string, parts: NotificationParts): Endpoint {
  return new Endpoint({
    name: options.name,
    target: { url: options.url, headers: options.headers, timeoutMs: options.timeout, secret: options.secret },
    format: options.format,
    filter: { mediaTypes: [...options.ignoredmediatypes, ...options.ignore.mediatypes], actions: options.ignore.actions },
    threshold: options.threshold,
    backoffMs: options.backoff,
    queue: openQueue(options, directory, parts.log),
    persistent: options.persist,
    clock: parts.clock,
    log: parts.log,
    metrics: parts.metrics,
  });
}

function openQueue(options: EndpointOptions, directory: string, log: Logger): EventQueue {
  if (!options.persist) return new MemoryQueue(options.queuesize);
  return new DiskQueue({ folder: join(directory, folderName(options)), maxBytes: options.maxsize, log });
}

// Names are free text: the readable part is for people, the sum keeps two names apart.
function folderName(options: EndpointOptions): string {
  const identity = identityOf(options);
  const readable = identity.replace(/[^A-Za-z0-9._-]+/g, "_").slice(0, 40);
  return `${readable}-${Bun.CryptoHasher.hash("sha256", identity, "hex").slice(0, 12)}`;
}

function identityOf(options: EndpointOptions): string {
  return options.name === "" ? options.url : options.name;
}

function refuseTwins(options: NotificationOptions): void {
  const seen = new Set<string>();
  for (const endpoint of options.endpoints) {
    if (endpoint.disabled || !endpoint.persist) continue;
    const identity = identityOf(endpoint);
    if (seen.has(identity)) throw new Error(`notifications.endpoints: two endpoints with persist are named ${JSON.stringify(endpoint.name)}: expected different names, each has a queue of its own`);
    seen.add(identity);
  }
}

function endpointVars(options: EndpointOptions, endpoint: Endpoint): EndpointVars {
  const names = Object.keys(options.headers);
  return {
    name: options.name,
    url: redactUri(options.url),
    Headers: names.length === 0 ? null : Object.fromEntries(names.map((name) => [name, ["<redacted>"]])),
    Timeout: options.timeout * 1e6,
    Threshold: options.threshold,
    Backoff: options.backoff * 1e6,
    IgnoredMediaTypes: orNull(options.ignoredmediatypes),
    Ignore: { MediaTypes: orNull(options.ignore.mediatypes), Actions: orNull(options.ignore.actions) },
    Metrics: endpoint.counts(),
  };
}

function orNull(list: readonly string[]): readonly string[] | null {
  return list.length === 0 ? null : list;
}
