import { readFile } from "node:fs/promises";
import type { Clock } from "../../lib/clock.ts";
import type { Logger } from "../../telemetry/log.ts";
import { verifyChain } from "./certificate-chain.ts";
import { FetchedKeys } from "./fetched-keys.ts";
import { type KeyBundle, parseKeyBundle } from "./key-bundle.ts";
import { parseKeySet } from "./key-set.ts";
import type { TokenOptions } from "./options.ts";
import type { TrustedKey } from "./trusted-key.ts";

/** What the keys need of the program. */
export interface TrustedKeysParts {
  readonly log: Logger;
  readonly clock: Clock;
}

/** The keys that tokens may be signed with, from every place that the configuration names. */
export class TrustedKeys {
  readonly #options: TokenOptions;
  readonly #parts: TrustedKeysParts;
  readonly #fetched: FetchedKeys | undefined;
  #files: KeyBundle = { keys: new Map(), certificates: [] };
  #version = 0;

  private constructor(options: TokenOptions, parts: TrustedKeysParts) {
    this.#options = options;
    this.#parts = parts;
    if (options.jwksurl !== undefined) this.#fetched = new FetchedKeys({ url: options.jwksurl, refreshMs: options.jwksrefresh, ...parts });
  }

  /**
   * Reads the files and fetches the set. A set that cannot be fetched yet is no reason not to start: token server and registry are
   * often started together.
   * @throws Error that names the key of the configuration, the file and what is wrong.
   */
  static async open(options: TokenOptions, parts: TrustedKeysParts): Promise<TrustedKeys> {
    const keys = new TrustedKeys(options, parts);
    await keys.#readFiles();
    await keys.#fetched?.refresh();
    return keys;
  }

  /** Another one after every change of what is trusted. */
  get version(): string {
    return `${this.#version} ${this.#fetched?.version ?? 0}`;
  }

  /**
   * Reads the files anew, and has a set fetched anew.
   * @throws Error as `open` does; what was read before stays in force then.
   */
  async reload(): Promise<void> {
    await this.#readFiles();
    await this.#fetched?.refresh();
  }

  /** The key of an id; undefined when it is not trusted. */
  async byId(id: string): Promise<TrustedKey | undefined> {
    return this.#files.keys.get(id) ?? (await this.#fetched?.find(id));
  }

  /** The key of a chain's first certificate; undefined when the chain leads to no trusted one. */
  byChain(chain: readonly unknown[]): TrustedKey | undefined {
    return verifyChain(chain, this.#files.certificates, this.#parts.clock.now());
  }

  async #readFiles(): Promise<void> {
    const { rootcertbundle, jwks, jwksurl } = this.#options;
    const bundle = rootcertbundle === undefined ? undefined : await readNamed("auth.token.rootcertbundle", rootcertbundle, parseKeyBundle);
    const set = jwks === undefined ? undefined : await readNamed("auth.token.jwks", jwks, async (json) => await parseKeySet(json, "with-secrets"));
    for (const reason of set?.skipped ?? []) this.#parts.log.warn("a key of auth.token.jwks cannot be used", { file: jwks, "err.message": reason });
    const keys = new Map([...(bundle?.keys ?? []), ...(set?.keys ?? [])]);
    if (keys.size === 0 && jwksurl === undefined) throw new Error(`token auth requires at least one token signing key: found none in ${[rootcertbundle, jwks].filter((file) => file !== undefined).join(" and ")}`);
    this.#files = { keys, certificates: bundle?.certificates ?? [] };
    this.#version++;
  }
}

async function readNamed<T>(key: string, file: string, parse: (text: string) => Promise<T>): Promise<T> {
  try {
    return await parse(await readFile(file, "utf8"));
  } catch (error) {
    throw new Error(`${key}: ${file}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
