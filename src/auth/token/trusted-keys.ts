import { createPublicKey, createSecretKey, type JsonWebKeyInput, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Clock } from "../../lib/clock.ts";
import type { Logger } from "../../telemetry/log.ts";
import { libtrustKeyId, thumbprintKeyId } from "./key-ids.ts";
import type { TokenOptions } from "./options.ts";

const MAX_CHAIN = 8;
const MAX_SET_BYTES = 1024 * 1024;
const FETCH_TIMEOUT_MS = 5_000;
/** A token with an unknown key makes a set be fetched again, but not more often. */
const UNKNOWN_KEY_REFRESH_MS = 30_000;

/** The keys that tokens may be signed with: from certificates, bare public keys and key sets, by every id that token servers use. */
export class TrustedKeys {
  readonly #options: TokenOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  #fixed = new Map<string, KeyObject>();
  #roots: readonly X509Certificate[] = [];
  #fetched: ReadonlyMap<string, KeyObject> = new Map();
  #fetchedAt = Number.NEGATIVE_INFINITY;
  #fetching: Promise<void> | undefined;

  private constructor(options: TokenOptions, parts: { readonly log: Logger; readonly clock: Clock }) {
    this.#options = options;
    this.#log = parts.log;
    this.#clock = parts.clock;
  }

  /** @throws Error that names the key of the configuration, the file and what is wrong */
  static async open(options: TokenOptions, parts: { readonly log: Logger; readonly clock: Clock }): Promise<TrustedKeys> {
    const keys = new TrustedKeys(options, parts);
    await keys.readFiles();
    if (options.jwksurl !== undefined) await keys.#refresh();
    return keys;
  }

  /** Reads bundle and key set anew; on failure what was read before stays. */
  async readFiles(): Promise<void> {
    const fixed = new Map<string, KeyObject>();
    const roots: X509Certificate[] = [];
    const { rootcertbundle, jwks } = this.#options;
    if (rootcertbundle !== undefined) await addBundle(rootcertbundle, { keys: fixed, roots });
    if (jwks !== undefined) addKeySet(fixed, readText("auth.token.jwks", jwks), `auth.token.jwks: ${jwks}`);
    if (fixed.size === 0 && this.#options.jwksurl === undefined) throw new Error("auth.token: token auth requires at least one token signing key; none is in the files that are configured");
    this.#fixed = fixed;
    this.#roots = roots;
  }

  /** The key of an id; undefined when it is not trusted. */
  async byId(id: string): Promise<KeyObject | undefined> {
    const fixed = this.#fixed.get(id);
    if (fixed !== undefined || this.#options.jwksurl === undefined) return fixed;
    const age = this.#clock.now() - this.#fetchedAt;
    if (age > this.#options.jwksrefresh || (!this.#fetched.has(id) && age > UNKNOWN_KEY_REFRESH_MS)) await this.#refresh();
    return this.#fetched.get(id);
  }

  /** The key of the first certificate of a chain that leads to a trusted one; undefined when it does not. */
  byChain(chain: readonly unknown[]): KeyObject | undefined {
    if (chain.length === 0 || chain.length > MAX_CHAIN) return undefined;
    let certificates: X509Certificate[];
    try {
      certificates = chain.map((text) => new X509Certificate(Buffer.from(String(text), "base64")));
    } catch {
      // Not a certificate: the chain proves nothing.
      return undefined;
    }
    const now = this.#clock.now();
    if (!certificates.every((certificate) => isCurrent(certificate, now))) return undefined;
    for (const [index, certificate] of certificates.entries()) {
      if (this.#roots.some((root) => root.fingerprint256 === certificate.fingerprint256 || isIssuedBy(certificate, root, now))) return certificates[0]?.publicKey;
      const issuer = certificates[index + 1];
      if (issuer === undefined || !isIssuedBy(certificate, issuer, now)) return undefined;
    }
    return undefined;
  }

  async #refresh(): Promise<void> {
    this.#fetching ??= this.#fetch().finally(() => void (this.#fetching = undefined));
    await this.#fetching;
  }

  async #fetch(): Promise<void> {
    const url = this.#options.jwksurl ?? "";
    this.#fetchedAt = this.#clock.now();
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(FETCH_TIMEOUT_MS), headers: { accept: "application/json" } });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const text = await response.text();
      if (text.length > MAX_SET_BYTES) throw new Error(`larger than ${MAX_SET_BYTES} bytes`);
      const keys = new Map<string, KeyObject>();
      addKeySet(keys, text, url);
      this.#fetched = keys;
    } catch (error) {
      this.#log.error("the key set cannot be fetched; the old keys stay trusted", { url, "err.message": error instanceof Error ? error.message : String(error) });
    }
  }
}

async function addBundle(file: string, to: { readonly keys: Map<string, KeyObject>; readonly roots: X509Certificate[] }): Promise<void> {
  const text = readText("auth.token.rootcertbundle", file);
  const blocks = text.match(/-----BEGIN (CERTIFICATE|PUBLIC KEY|RSA PUBLIC KEY)-----[\s\S]*?-----END \1-----/g) ?? [];
  for (const block of blocks) {
    let key: KeyObject;
    try {
      if (block.startsWith("-----BEGIN CERTIFICATE")) {
        const certificate = new X509Certificate(block);
        to.roots.push(certificate);
        key = certificate.publicKey;
      } else key = createPublicKey(block);
    } catch (error) {
      throw new Error(`auth.token.rootcertbundle: ${file} holds a block that cannot be read: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
    to.keys.set(libtrustKeyId(key), key);
    to.keys.set(await thumbprintKeyId(key), key);
  }
}

function addKeySet(keys: Map<string, KeyObject>, text: string, where: string): void {
  let list: unknown;
  try {
    list = (JSON.parse(text) as { keys?: unknown }).keys;
  } catch (error) {
    throw new Error(`${where} is not JSON`, { cause: error });
  }
  if (!Array.isArray(list)) throw new Error(`${where} has no list of keys`);
  for (const item of list as (JsonWebKeyInput["key"] & { kid?: unknown; k?: unknown })[]) {
    if (typeof item.kid !== "string") continue;
    const key = item.kty === "oct" && typeof item.k === "string" ? createSecretKey(Buffer.from(item.k, "base64url")) : createPublicKey({ key: item, format: "jwk" });
    keys.set(item.kid, key);
  }
}

function isCurrent(certificate: X509Certificate, now: number): boolean {
  return Date.parse(certificate.validFrom) <= now && now <= Date.parse(certificate.validTo);
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate, now: number): boolean {
  return issuer.ca && isCurrent(issuer, now) && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function readText(key: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new Error(`${key}: cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
