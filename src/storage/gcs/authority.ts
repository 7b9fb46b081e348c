import { createPrivateKey, type KeyObject } from "node:crypto";
import type { Storage } from "@google-cloud/storage";
import { StoreConnectionError } from "../object-store/connection-error.ts";

/** A client of the SDK that gets access tokens. */
type TokenClient = Awaited<ReturnType<Storage["authClient"]["getClient"]>>;

/** What the SDK's client for service accounts has, and that its class is not exported. */
interface ServiceAccountClient {
  readonly email: string;
  readonly key: string;
  additionalClaims?: object;
}

type TokenRequest = Parameters<TokenClient["transporter"]["request"]>[0];

/** The right to make requests. */
export interface Authority {
  /** The headers that carry it; empty for an emulator. @throws Error when no token can be had */
  headers(url: string): Promise<Readonly<Record<string, string>>>;
  /** To be told when the store refused a request with these headers: the next ones are others. */
  refused(headers: Readonly<Record<string, string>>): void;
}

/** What signed URLs are made with. */
export interface SigningKey {
  readonly email: string;
  readonly key: KeyObject;
}

/** Whose authority it is. */
export interface AuthorityOptions {
  /** The fields of a key file; undefined for the application default. */
  readonly credentials: Readonly<Record<string, unknown>> | undefined;
  /** Requests carry no authority. */
  readonly isAnonymous: boolean;
  /** How long a token may take. */
  readonly timeoutMs: number;
}

const ANONYMOUS: Authority = { headers: async () => ({}), refused: () => undefined };

/**
 * Takes credentials of every kind that the SDK knows: keys of service accounts, users' and external accounts, and where none are given
 * the application default (GOOGLE_APPLICATION_CREDENTIALS, gcloud's own file, the machine's service account).
 *
 * Of the SDK this is what is used; the calls themselves are made by `Bucket`. The SDK sends them through fetch, of which Bun allows 256
 * at a time in the whole process, downloads to slow clients included; they cannot be given up; the session of an upload cannot be put
 * away by one process and taken up by another; and its signed URLs know neither HEAD nor ports.
 *
 * @throws Error when credentials are of no known form, or none are found
 */
export async function openAuthority(options: AuthorityOptions): Promise<{ readonly authority: Authority; readonly signingKey: SigningKey | undefined }> {
  const { credentials, isAnonymous, timeoutMs } = options;
  if (isAnonymous && credentials === undefined) return { authority: ANONYMOUS, signingKey: undefined };
  const { client, tokenUri } = await openTokenClient(credentials);
  if (isServiceAccount(client)) useTokenUri(client, { uri: tokenUri, timeoutMs });
  return { authority: isAnonymous ? ANONYMOUS : new TokenAuthority(client, timeoutMs), signingKey: isServiceAccount(client) ? signingKeyOf(client) : undefined };
}

async function openTokenClient(credentials: Readonly<Record<string, unknown>> | undefined): Promise<{ readonly client: TokenClient; readonly tokenUri: string | undefined }> {
  const { Storage } = await import("@google-cloud/storage");
  const universe = credentials?.["universe_domain"];
  const storage = new Storage({
    ...(credentials === undefined ? {} : { credentials: { ...credentials } }),
    ...(typeof universe === "string" && universe !== "" ? { universeDomain: universe } : {}),
  });
  try {
    const client = await storage.authClient.getClient();
    // Read from whichever file the client was made of.
    const fields: Readonly<Record<string, unknown>> = { ...storage.authClient.jsonContent };
    const uri = fields["token_uri"];
    return { client, tokenUri: typeof uri === "string" && uri !== "" ? uri : undefined };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(credentials === undefined ? `storage.gcs: neither keyfile nor credentials are given, and there are no application default credentials: ${message}` : `storage.gcs: the credentials cannot be used: ${message}`, { cause: error });
  }
}

/** Asks the SDK for a token with every request; it keeps one until shortly before its end. */
class TokenAuthority implements Authority {
  readonly #client: TokenClient;
  readonly #timeoutMs: number;

  constructor(client: TokenClient, timeoutMs: number) {
    this.#client = client;
    this.#timeoutMs = timeoutMs;
  }

  async headers(url: string): Promise<Readonly<Record<string, string>>> {
    const headers = await inTime(this.#client.getRequestHeaders(url), this.#timeoutMs);
    return { ...headers };
  }

  refused(headers: Readonly<Record<string, string>>): void {
    const { credentials } = this.#client;
    // Others may have got a new one meanwhile.
    if (credentials.access_token && headers["Authorization"]?.endsWith(` ${credentials.access_token}`) === true) this.#client.setCredentials({ ...credentials, expiry_date: 1 });
  }
}

/**
 * Has tokens come from where the key's file says, as programs in Go do; the SDK asks Google's own address whatever the file says. Google's
 * files name it, too.
 */
function useTokenUri(client: TokenClient & ServiceAccountClient, { uri, timeoutMs }: { readonly uri: string | undefined; readonly timeoutMs: number }): void {
  const { transporter } = client;
  const other = uri === undefined ? {} : { url: uri };
  if (uri !== undefined) client.additionalClaims = { aud: uri };
  const ask = async <T>(request: TokenRequest): ReturnType<typeof transporter.request<T>> => {
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      return await transporter.request<T>({ ...request, ...other, signal });
    } catch (error) {
      throw signal.aborted ? lateToken(timeoutMs) : error;
    }
  };
  client.transporter = { request: ask };
}

function isServiceAccount(client: TokenClient): client is TokenClient & ServiceAccountClient {
  return "email" in client && "key" in client && typeof client.email === "string" && typeof client.key === "string";
}

function signingKeyOf({ email, key }: ServiceAccountClient): SigningKey {
  try {
    return { email, key: createPrivateKey(key) };
  } catch {
    // The reason would be OpenSSL's, which tells users nothing.
    throw new Error(`storage.gcs: the private_key of ${email} is no key in PEM`);
  }
}

async function inTime<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(lateToken(timeoutMs)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The failure that is tried again; what the SDK makes of a signal says nothing of that. */
function lateToken(timeoutMs: number): StoreConnectionError {
  return new StoreConnectionError(`no access token came within ${timeoutMs} ms`, "ETIMEDOUT");
}
