import type { Contender, Server } from "./contender.ts";
import type { Login } from "./logins.ts";
import type { BigFile, SeededImage, SeededStore } from "./seed.ts";

/** Something measured, once. */
export interface Metric {
  readonly name: string;
  readonly unit: string;
  readonly isHigherBetter: boolean;
  readonly value: number;
}

/** How much is done. */
export interface Scale {
  /** Of the big blob. */
  readonly bigMiB: number;
  /** For which a small request is repeated. */
  readonly seconds: number;
  readonly smallImages: number;
  readonly tags: number;
  readonly repositories: readonly number[];
  readonly referrers: number;
  readonly connections: readonly number[];
  readonly stormClients: number;
  readonly stormLayerBytes: number;
  /** MiB moved by each workload of the mixes. */
  readonly mixMiB: number;
}

/** What a workload runs on. */
export interface Bench {
  readonly scale: Scale;
  /** A big file, made when it is first asked for; different numbers give different files. */
  bigFile(number: number, sizeMiB: number): Promise<BigFile>;
  /** Blobs of 1, 10 and 100 MiB. */
  mixFiles(): Promise<readonly BigFile[]>;
  /** The contender's server on the store that reading is measured on; it keeps running. */
  reader(contender: Contender, options?: ReaderOptions): Promise<Reader>;
  /** The contender's server on a store that `seed` fills when the key is first asked for; it keeps running. */
  kept(contender: Contender, key: string, seed: Seed): Promise<Server>;
  /** A server for one measurement, on a store that is empty but for what `seed` puts there. */
  fresh(contender: Contender, options?: { readonly seed?: Seed; readonly mirrorOf?: string }): Promise<Server>;
  /** A server of nothing but the big blob, through nginx, in `bench/big`; it keeps running. @param bytesPerSecond To each connection; 0: as fast as it goes. */
  upstream(bytesPerSecond: number): Promise<{ readonly url: string; readonly big: BigFile }>;
  /** A folder for what a workload makes itself. */
  readonly scratch: string;
}

/** Fills a store before its server starts. */
export type Seed = (store: SeededStore) => Promise<void>;

/** How a server is read from. */
export interface ReaderOptions {
  readonly isTls?: boolean;
  /** Default: nobody is asked for one. */
  readonly login?: Login | undefined;
}

/** A running server and what is in its store. */
export interface Reader {
  readonly server: Server;
  /** The header that requests need; undefined without logins. */
  readonly authorization: string | undefined;
  /** One layer of 1 KiB, tagged `latest`; on nginx the files `/manifest` and `/layer`. */
  readonly small: SeededImage;
  readonly storm: SeededImage;
  /** In the repository `bench/big`; on nginx the file `/big`. */
  readonly big: BigFile;
}

/** One thing to measure. */
export interface Workload {
  readonly name: string;
  /** Whether nginx can do it too, as the limit. */
  readonly hasLimit?: boolean;
  /** @returns Undefined when this server cannot do it at all. */
  measure(bench: Bench, contender: Contender): Promise<readonly Metric[] | undefined>;
}

/** A rate: higher is better. */
export function rate(name: string, unit: string, value: number): Metric {
  return { name, unit, isHigherBetter: true, value };
}

/** A cost: lower is better. */
export function cost(name: string, unit: string, value: number): Metric {
  return { name, unit, isHigherBetter: false, value };
}

/** Runs something and gives its wall time and the server's CPU time. */
export async function timed(server: Server, action: () => Promise<void>): Promise<{ seconds: number; cpuSeconds: number }> {
  server.resetPeakMemory();
  const cpuBefore = server.cpuSeconds();
  const started = performance.now();
  await action();
  const seconds = (performance.now() - started) / 1000;
  return { seconds, cpuSeconds: server.cpuSeconds() - cpuBefore };
}
