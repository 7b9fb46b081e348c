import { DEFAULT_CONNECTIONS } from "../http/options.ts";
import type { Logger } from "../telemetry/log.ts";
import { type ListeningSockets, mostDescriptors, openDescriptors } from "./listening-sockets.ts";

/** What a limit is made from. */
export interface ConnectionLimitOptions {
  /** `http.limits.connections`; 0: no limit. */
  readonly configured: number;
  /** Open files and sockets for each connection that is busy. */
  readonly descriptorsEach: number;
  readonly log: Logger;
}

/** Descriptors for everything that is not there for a connection. */
const RESERVED_DESCRIPTORS = 128;
/** The last ones, or this part of them, are never taken by connections, whatever else is open: for files. */
const LAST = { descriptors: 64, part: 8 };
/** Where so many places are free, they are looked at now and then: more clients do not come meanwhile. */
const FAR = { places: 2_000, pauseMs: 100 };
/** The same for looking often. With fewer, clients are let in a few at a time. */
const NEAR = { places: 256, pauseMs: 10 };
/** Whoever waits is accepted in one round: so many rounds must be possible until it is looked again. */
const ROUNDS = 4;
/** Looking takes this part of the time at most. */
const PAUSE_FOR_COST = 20;
/** The part of the places that may be free while connections are closed after each answer. */
const CROWDED_PART = 10;
/** The kernel keeps this part of the limit for clients who wait, over the limit when many come at once. */
const QUEUE_PART = 64;
const LONGEST_QUEUE = 512;
const WARNING_INTERVAL_MS = 60_000;

/**
 * Keeps the number of a listener's connections at a limit: further clients wait until others are gone. Without one, a process that has no
 * descriptors left can open no file either, and tries to accept the waiting clients over and over.
 */
export class ConnectionLimit implements Disposable {
  /** Connections at once, at most. */
  readonly limit: number;
  /** Descriptors that may be open while somebody is let in. */
  readonly #mostOpen: number;
  readonly #options: ConnectionLimitOptions;
  #sockets: ListeningSockets | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isCrowded = false;
  #warnedAt = Number.NEGATIVE_INFINITY;

  private constructor(most: number, options: ConnectionLimitOptions) {
    const possible = Math.max(1, Math.floor((most - RESERVED_DESCRIPTORS) / options.descriptorsEach));
    this.limit = Math.min(options.configured, possible);
    this.#mostOpen = most - Math.min(LAST.descriptors, Math.floor(most / LAST.part));
    this.#options = options;
  }

  /** @param most Files and sockets that the process may open. @returns Undefined where there is to be no limit. */
  static of(options: ConnectionLimitOptions, most = mostDescriptors() ?? Number.POSITIVE_INFINITY): ConnectionLimit | undefined {
    if (options.configured === 0) return undefined;
    const made = new ConnectionLimit(most, options);
    if (made.limit < options.configured) made.#say("connections are limited to what the limit of open files has room for", { limit: made.limit, openfiles: most });
    return made;
  }

  /** Whether connections should be closed as soon as they are not needed. */
  get isCrowded(): boolean {
    return this.#isCrowded;
  }

  /** Connections at the moment; undefined where they cannot be counted. */
  connections(): number | undefined {
    return this.#sockets?.connections();
  }

  /** Watches what has just begun to listen. What was watched before is let go: it is about to close, and takes who waits there. */
  watch(sockets: ListeningSockets): void {
    clearTimeout(this.#timer);
    this.#sockets?.admit("all");
    this.#sockets = sockets;
    this.#look();
  }

  /** To be told when there is nothing to be watched; the log says so. */
  watchNothing(reason: unknown): void {
    this[Symbol.dispose]();
    this.#sockets = undefined;
    this.#say("connections cannot be limited here", { "err.message": reason instanceof Error ? reason.message : String(reason) });
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #look(): void {
    const startedAt = performance.now();
    const free = this.#free();
    this.#isCrowded = free <= this.limit / CROWDED_PART;
    if (free > NEAR.places) this.#sockets?.admit("all", Math.min(LONGEST_QUEUE, Math.floor(free / ROUNDS)));
    else this.#sockets?.admit(free > 0 ? "once" : "none", this.#queue(free));
    if (free <= 0) this.#warn();
    const cost = performance.now() - startedAt;
    const { pauseMs } = free > FAR.places ? FAR : NEAR;
    this.#timer = setTimeout(() => this.#look(), Math.max(pauseMs, cost * PAUSE_FOR_COST)).unref();
  }

  /** How many places are free, at least; exactly when it might be few. */
  #free(): number {
    try {
      const open = openDescriptors();
      // Whatever is open for other things is counted, too: cheap, and good enough far from the limit.
      const atLeast = this.limit - open;
      const places = atLeast > this.limit / CROWDED_PART ? atLeast : this.limit - (this.#sockets?.connections() ?? 0);
      return Math.min(places, this.#mostOpen - open);
    } catch {
      // Not one descriptor is left to look with.
      return 0;
    }
  }

  /** How many clients the kernel keeps: whoever is kept is taken, all at once, when there is place for one. */
  #queue(free: number): number {
    return Math.min(LONGEST_QUEUE, Math.max(free - 1, Math.floor(this.limit / QUEUE_PART)));
  }

  #warn(): void {
    const now = performance.now();
    if (now - this.#warnedAt < WARNING_INTERVAL_MS) return;
    this.#warnedAt = now;
    this.#options.log.warn("http.limits.connections is reached: more clients wait until others are gone", { limit: this.limit });
  }

  // Who has asked for a limit is warned, and others are informed.
  #say(message: string, fields: Readonly<Record<string, unknown>>): void {
    const { configured, log } = this.#options;
    log[configured === DEFAULT_CONNECTIONS ? "info" : "warn"](message, { "http.limits.connections": configured, ...fields });
  }
}
