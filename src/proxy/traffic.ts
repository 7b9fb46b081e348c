/** What is counted of a mirror, by the names that distribution gives it. */
export type TrafficCounter = "Requests" | "Hits" | "Misses" | "BytesPulled" | "BytesPushed";

/** What a mirror serves. */
export type TrafficKind = "blob" | "manifest";

/** Takes what a mirror counts. */
export interface TrafficMetrics {
  count(kind: TrafficKind, counter: TrafficCounter, amount: number): void;
}

/** The counts of one kind, as `/debug/vars` shows them. */
export type TrafficCounts = Readonly<Record<TrafficCounter, number>>;

/** Counts what goes through a mirror; bytes pulled come from upstream, bytes pushed go to clients. */
export class Traffic {
  readonly #metrics: TrafficMetrics | undefined;
  readonly #counts: Record<TrafficKind, Record<TrafficCounter, number>> = { blob: zeroes(), manifest: zeroes() };

  constructor(metrics: TrafficMetrics | undefined) {
    this.#metrics = metrics;
  }

  /** Counts a request that the cache answered. */
  hit(kind: TrafficKind, pushedBytes: number): void {
    this.#add(kind, "Requests", 1);
    this.#add(kind, "Hits", 1);
    this.#add(kind, "BytesPushed", pushedBytes);
  }

  /** Counts a request that upstream had to answer. */
  miss(kind: TrafficKind, pushedBytes: number): void {
    this.#add(kind, "Requests", 1);
    this.#add(kind, "Misses", 1);
    this.#add(kind, "BytesPushed", pushedBytes);
  }

  /** Counts bytes from upstream. */
  pulled(kind: TrafficKind, bytes: number): void {
    this.#add(kind, "BytesPulled", bytes);
  }

  /** The counts so far. */
  counts(kind: TrafficKind): TrafficCounts {
    return { ...this.#counts[kind] };
  }

  #add(kind: TrafficKind, counter: TrafficCounter, amount: number): void {
    if (amount === 0) return;
    this.#counts[kind][counter] += amount;
    this.#metrics?.count(kind, counter, amount);
  }
}

function zeroes(): Record<TrafficCounter, number> {
  return { Requests: 0, Hits: 0, Misses: 0, BytesPulled: 0, BytesPushed: 0 };
}
