import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../telemetry/log.ts";
import { AlpnChallenges } from "./acme/alpn-challenges.ts";
import { listenForChallenges } from "./acme/challenge-listener.ts";
import { type AcmeOptions, type ChallengeAnswerer, orderCertificate } from "./acme/order.ts";
import { AcmeState, type OrderedCertificate } from "./acme/state.ts";
import { makeTemporaryCertificate } from "./acme/self-signed.ts";
import { Jobs } from "./jobs.ts";
import type { KeyPair } from "./tls.ts";

/** Looks at the certificate, and at what another instance has put in the folder, at least this often. */
const MAX_INTERVAL_MS = 12 * 3_600_000;
/** After a failure it is tried again so much later, doubled each time: authorities count failures, five an hour at most. */
const FIRST_RETRY_MS = 2 * 60_000;
const MAX_RETRY_MS = 6 * 3_600_000;

/** What ordering certificates needs of the program. */
export interface AcmeParts {
  readonly log: Logger;
  readonly clock: Clock;
}

/** Certificates that are ordered, kept and renewed by themselves. */
export interface Acme extends AsyncDisposable {
  /** What to serve now: the ordered certificate; until there is one, a temporary one that nobody trusts. */
  current(): KeyPair;
  /** What is to be answered on the API's own port while a certificate is ordered; undefined when nothing is. */
  challenges(): AlpnChallenges | undefined;
  /** Called after every change of what the others give, and waited for. */
  onChange(listener: () => Promise<unknown>): void;
}

/**
 * Whether `http.tls.letsencrypt` is used.
 */
export function isAcmeOn(options: AcmeOptions): boolean {
  return options.cachedir !== undefined || options.cachefile !== undefined;
}

/**
 * Takes what the folder holds, and from then on orders in the background whatever is missing, about to end, or for other hosts. A
 * failure leaves what is served as it is, and its log line says what to do.
 * @throws Error when the options cannot be fulfilled, or the folder cannot be used.
 */
export async function openAcme(options: AcmeOptions, parts: AcmeParts): Promise<Acme> {
  checkOptions(options);
  const state = await AcmeState.open(options.cachedir ?? options.cachefile ?? "");
  const kept = await readKept(state, parts.log);
  return new OrderingAcme({ options, state, parts, kept, temporary: await makeTemporaryCertificate(options.hosts, parts.clock.now()) });
}

function checkOptions(options: AcmeOptions): void {
  if (options.hosts.length === 0) throw new Error("http.tls.letsencrypt.hosts: expected at least one host name that certificates are ordered for");
  const wildcard = options.hosts.find((host) => host.includes("*"));
  if (wildcard !== undefined) throw new Error(`http.tls.letsencrypt.hosts: found ${wildcard}, expected whole host names: wildcards can only be proven by the DNS`);
}

async function readKept(state: AcmeState, log: Logger): Promise<OrderedCertificate | undefined> {
  try {
    return await state.readCertificate();
  } catch (error) {
    log.error("the kept certificate cannot be used; another one is ordered", { "err.message": describe(error) });
    return undefined;
  }
}

interface OrderingParts {
  readonly options: AcmeOptions;
  readonly state: AcmeState;
  readonly parts: AcmeParts;
  readonly kept: OrderedCertificate | undefined;
  readonly temporary: KeyPair;
}

class OrderingAcme implements Acme {
  readonly #options: AcmeOptions;
  readonly #state: AcmeState;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #temporary: KeyPair;
  readonly #listeners: (() => Promise<unknown>)[] = [];
  readonly #jobs: Jobs;
  #certificate: OrderedCertificate | undefined;
  #challenges: AlpnChallenges | undefined;
  #failures = 0;

  constructor({ options, state, parts, kept, temporary }: OrderingParts) {
    this.#options = options;
    this.#state = state;
    this.#log = parts.log;
    this.#clock = parts.clock;
    this.#certificate = kept;
    this.#temporary = temporary;
    this.#jobs = new Jobs(parts.log, parts.clock);
    this.#jobs.start("acme", { delayMs: 0, intervalMs: () => this.#intervalMs() }, async (signal) => await this.#run(signal));
  }

  current(): KeyPair {
    return this.#certificate ?? this.#temporary;
  }

  challenges(): AlpnChallenges | undefined {
    return this.#challenges;
  }

  onChange(listener: () => Promise<unknown>): void {
    this.#listeners.push(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#jobs[Symbol.asyncDispose]();
  }

  async #run(signal: AbortSignal): Promise<void> {
    if (!this.#isDue(this.#certificate)) return;
    try {
      // Another instance that shares the folder may have ordered already.
      const kept = await readKept(this.#state, this.#log);
      const next = kept !== undefined && !this.#isDue(kept) ? kept : await this.#order(signal);
      if (next === undefined) return;
      this.#failures = 0;
      this.#certificate = next;
      this.#log.info("a certificate is there", { hosts: this.#options.hosts.join(" "), until: new Date(next.validTo).toISOString() });
      await this.#tellOfChange();
    } catch (error) {
      this.#failures++;
      this.#log.error("ordering a certificate failed", { "err.message": describe(error), serving: this.#serving(), "retry.after": `${Math.round(this.#intervalMs() / 1000)}s` });
    }
  }

  /** @returns Undefined when the program ends meanwhile; the order is then left to end by itself. */
  async #order(signal: AbortSignal): Promise<OrderedCertificate | undefined> {
    const { promise: stopped, resolve: stop } = Promise.withResolvers<undefined>();
    const onAbort = (): void => stop(undefined);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      const pair = await Promise.race([this.#answering(async (answerer) => await orderCertificate(this.#options, { state: this.#state, answerer })), stopped]);
      return pair === undefined ? undefined : await this.#state.writeCertificate(pair);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Runs something while challenges are answered. */
  async #answering<Result>(run: (answerer: ChallengeAnswerer) => Promise<Result>): Promise<Result> {
    if (this.#options.challenge === "http-01") {
      await using listener = await listenForChallenges(this.#options.httpaddr);
      return await run(listener);
    }
    using challenges = new AlpnChallenges(this.#clock);
    try {
      await this.#setChallenges(challenges);
      return await run(challenges);
    } finally {
      await this.#setChallenges(undefined);
    }
  }

  async #setChallenges(challenges: AlpnChallenges | undefined): Promise<void> {
    this.#challenges = challenges;
    await this.#tellOfChange();
  }

  async #tellOfChange(): Promise<void> {
    for (const listener of this.#listeners) await listener();
  }

  #isDue(certificate: OrderedCertificate | undefined): boolean {
    return certificate === undefined || this.#clock.now() >= this.#renewAt(certificate) || !this.#options.hosts.every((host) => certificate.leaf.checkHost(host) !== undefined);
  }

  // A certificate that lives for a week must not be renewed a month before its end, which is always.
  #renewAt({ validFrom, validTo }: OrderedCertificate): number {
    return validTo - Math.min(this.#options.renewbefore, (validTo - validFrom) / 3);
  }

  #intervalMs(): number {
    if (this.#failures > 0) return Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(20, this.#failures - 1));
    const untilDue = this.#certificate === undefined ? FIRST_RETRY_MS : this.#renewAt(this.#certificate) - this.#clock.now();
    return Math.max(1_000, Math.min(MAX_INTERVAL_MS, untilDue));
  }

  #serving(): string {
    if (this.#certificate === undefined) return "a temporary certificate that no client trusts";
    return `the old certificate, until ${new Date(this.#certificate.validTo).toISOString()}`;
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
