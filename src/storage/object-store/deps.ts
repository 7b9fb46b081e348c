import type { Logger } from "../../telemetry/log.ts";

/** How long URLs that clients are sent to are good for, unless told otherwise. */
export const DEFAULT_REDIRECT_EXPIRY_MS = 20 * 60 * 1000;

/** What the driver of an object store is opened with besides its options. */
export interface ObjectStoreDeps {
  readonly log: Logger;
  /** The program's environment, for HTTP_PROXY, HTTPS_PROXY and NO_PROXY. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** What the program calls itself, unless `useragent` says otherwise, like `registry/1.0`. */
  readonly userAgent?: string;
  /** How long URLs that clients are sent to are good for; `storage.redirect.expiry`. */
  readonly redirectExpiryMs?: number;
}
