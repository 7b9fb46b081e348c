import type { StorageSharedKeyCredential, UserDelegationKey } from "@azure/storage-blob";
import { type Clock, SYSTEM_CLOCK } from "../../lib/clock.ts";
import type { Logger } from "../../telemetry/log.ts";

/** Form of the signatures: every service of the last years takes it, emulators and those on premises too. */
const SIGNATURE_VERSION = "2020-12-06";
/** What the store allows for keys of its own making, and for what is signed with them. */
const MAX_KEY_MS = 7 * 24 * 60 * 60 * 1000;
const KEY_MS = 24 * 60 * 60 * 1000;
/** Clocks may differ by as much. */
const SKEW_MS = 5 * 60 * 1000;
/** How long it is not asked for a key again after it refused one. */
const REFUSED_MS = 60 * 1000;

/** What URLs are signed for. */
export interface SigningOptions {
  /** The SDK's module. */
  readonly sdk: typeof import("@azure/storage-blob");
  readonly account: string;
  readonly container: string;
  /** How long URLs are good. */
  readonly expiryMs: number;
}

/** Who gives keys to sign with: the service, by the SDK's client. */
export interface KeyService {
  getUserDelegationKey(startsOn: Date, expiresOn: Date): Promise<UserDelegationKey>;
}

/** Makes URLs at which somebody reads a blob without credentials, for a while. */
export interface UrlSigner {
  /** @returns undefined when there is nothing to sign with */
  readUrl(blob: BlobAddress): Promise<string | undefined>;
  /** @returns A URL from which the store itself copies the blob, when we ask it to. */
  sourceUrl(blob: BlobAddress): Promise<string>;
}

/** Which blob a URL is for. */
export interface BlobAddress {
  /** Its plain URL. Whether it is there is not looked at. */
  readonly url: string;
  readonly name: string;
}

/** Signs with the account's key. Nothing is asked of the store. */
export class SharedKeySigner implements UrlSigner {
  readonly #credential: StorageSharedKeyCredential;
  readonly #options: SigningOptions;

  constructor(credential: StorageSharedKeyCredential, options: SigningOptions) {
    this.#credential = credential;
    this.#options = options;
  }

  async readUrl({ url, name }: BlobAddress): Promise<string> {
    const { sdk, expiryMs } = this.#options;
    const expiresOn = new Date(Date.now() + expiryMs);
    return `${url}?${sdk.generateBlobSASQueryParameters({ ...readingOf(this.#options, { url, name }), expiresOn }, this.#credential)}`;
  }

  /** The key with which we ask is good for the source, too. */
  async sourceUrl({ url }: BlobAddress): Promise<string> {
    return url;
  }
}

/**
 * Signs with a key that the store gives to those who have a token, for a day. Not everybody who may read may have such a key; then
 * there are no URLs.
 */
export class DelegatedSigner implements UrlSigner {
  readonly #service: KeyService;
  readonly #options: SigningOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  #key: Promise<UserDelegationKey | undefined> | undefined;
  #renewAt = 0;

  constructor(service: KeyService, options: SigningOptions, log: Logger, clock: Clock = SYSTEM_CLOCK) {
    this.#service = service;
    this.#options = { ...options, expiryMs: Math.min(options.expiryMs, MAX_KEY_MS / 2) };
    this.#log = log;
    this.#clock = clock;
  }

  async readUrl({ url, name }: BlobAddress): Promise<string | undefined> {
    const { sdk, account, expiryMs } = this.#options;
    const key = await this.#currentKey();
    if (key === undefined) return undefined;
    const expiresOn = new Date(this.#clock.now() + expiryMs);
    return `${url}?${sdk.generateBlobSASQueryParameters({ ...readingOf(this.#options, { url, name }), expiresOn }, key, account)}`;
  }

  async sourceUrl(blob: BlobAddress): Promise<string> {
    return (await this.readUrl(blob)) ?? blob.url;
  }

  #currentKey(): Promise<UserDelegationKey | undefined> {
    if (this.#key !== undefined && this.#clock.now() < this.#renewAt) return this.#key;
    const keyMs = Math.max(KEY_MS, this.#options.expiryMs * 2);
    this.#renewAt = this.#clock.now() + keyMs - this.#options.expiryMs;
    this.#key = this.#askForKey(keyMs);
    return this.#key;
  }

  async #askForKey(keyMs: number): Promise<UserDelegationKey | undefined> {
    const now = this.#clock.now();
    try {
      return await this.#service.getUserDelegationKey(new Date(now - SKEW_MS), new Date(now + keyMs));
    } catch (error) {
      this.#renewAt = now + REFUSED_MS;
      // The SDK's error holds the request, with the token in it.
      this.#log.warn("the store gives no key to sign URLs with: blobs are streamed instead", { "err.message": error instanceof Error ? error.message.split("\n", 1)[0] : String(error) });
      return undefined;
    }
  }
}

function readingOf({ sdk, container }: SigningOptions, { url, name }: BlobAddress) {
  return {
    version: SIGNATURE_VERSION,
    containerName: container,
    blobName: name,
    permissions: sdk.BlobSASPermissions.parse("r"),
    protocol: url.startsWith("https:") ? sdk.SASProtocol.Https : sdk.SASProtocol.HttpsAndHttp,
  };
}
