import { createHash, sign } from "node:crypto";
import { promisify } from "node:util";
import type { RedirectRequest } from "../driver.ts";
import type { SigningKey } from "./authority.ts";

/** What the store allows. */
const MAX_EXPIRY_SECONDS = 7 * 24 * 60 * 60;
const ALGORITHM = "GOOG4-RSA-SHA256";
/** In another thread: RSA takes its time. */
const signAside = promisify(sign);

/** What a URL is to be good for. */
export interface SignedUrlRequest {
  /** Where the store is, without a slash at the end. */
  readonly endpoint: string;
  readonly bucket: string;
  readonly key: string;
  readonly method: RedirectRequest["method"];
  readonly now: Date;
  /** How long it is good; a week at most. */
  readonly expiryMs: number;
}

/**
 * Makes a URL at which a client fetches an object itself, without credentials, for a while. Nothing is asked of the store.
 * @see Cloud Storage, "V4 signing process with your own program"
 */
export async function signedUrl({ email, key: privateKey }: SigningKey, request: SignedUrlRequest): Promise<string> {
  const { endpoint, bucket, key, method, now, expiryMs } = request;
  const expirySeconds = Math.min(MAX_EXPIRY_SECONDS, Math.max(1, Math.round(expiryMs / 1000)));
  const { host, origin } = new URL(endpoint);
  const time = now.toISOString().replace(/[-:]|\.\d{3}/g, "");
  const scope = `${time.slice(0, 8)}/auto/storage/goog4_request`;
  const path = `/${[bucket, ...key.split("/")].map(escapeUri).join("/")}`;
  const query = [
    ["X-Goog-Algorithm", ALGORITHM],
    ["X-Goog-Credential", `${email}/${scope}`],
    ["X-Goog-Date", time],
    ["X-Goog-Expires", String(expirySeconds)],
    ["X-Goog-SignedHeaders", "host"],
  ]
    .map(([name = "", value = ""]) => `${name}=${escapeUri(value)}`)
    .join("&");
  const canonical = [method, path, query, `host:${host}`, "", "host", "UNSIGNED-PAYLOAD"].join("\n");
  const toSign = [ALGORITHM, time, scope, createHash("sha256").update(canonical).digest("hex")].join("\n");
  const signature = (await signAside("RSA-SHA256", Buffer.from(toSign), privateKey)).toString("hex");
  return `${origin}${path}?${query}&X-Goog-Signature=${signature}`;
}

/** RFC 3986, which is stricter than `encodeURIComponent`. */
function escapeUri(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}
