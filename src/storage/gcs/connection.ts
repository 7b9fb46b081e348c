import { readFile } from "node:fs/promises";
import type { ObjectStoreDeps } from "../object-store/deps.ts";
import { HttpClient } from "../object-store/http-client.ts";
import { type Authority, openAuthority, type SigningKey } from "./authority.ts";
import type { GcsOptions } from "./options.ts";

const DEFAULT_SILENCE_MS = 60_000;
const DEFAULT_UNIVERSE = "googleapis.com";

/** What a driver is given besides its options. Of the environment STORAGE_EMULATOR_HOST is read, too. */
export interface GcsDeps extends ObjectStoreDeps {
  /** How long the store may be silent; default one minute. */
  readonly silenceMs?: number;
}

/** How a store is reached. */
export interface GcsConnection {
  readonly http: HttpClient;
  /** Without a slash at the end. */
  readonly endpoint: string;
  readonly userAgent: string | undefined;
  readonly authority: Authority;
  /** What URLs are signed with; undefined for credentials that have no key here. */
  readonly signingKey: SigningKey | undefined;
}

/** Reads the credentials and prepares connections. @throws Error for credentials that cannot be read, or when there are none */
export async function openConnection(options: GcsOptions, deps: GcsDeps): Promise<GcsConnection> {
  const { env = {}, silenceMs = DEFAULT_SILENCE_MS } = deps;
  const emulator = options.endpoint === undefined ? emulatorOf(env) : undefined;
  const credentials = await credentialsOf(options);
  const endpoint = emulator ?? (options.endpoint ?? `https://storage.${universeOf(credentials)}`).replace(/\/+$/, "");
  // As the SDK does: an emulator is asked without credentials, and none are looked for. Any are good for signing all the same.
  const { authority, signingKey } = await openAuthority({ credentials, isAnonymous: emulator !== undefined, timeoutMs: silenceMs });
  return {
    http: new HttpClient({ silenceMs, proxyEnv: isThisHost(endpoint) ? {} : env }),
    endpoint,
    userAgent: options.useragent || deps.userAgent,
    authority,
    signingKey,
  };
}

/** The fields of a key, from the configuration or from a file; undefined for the application default. */
async function credentialsOf({ keyfile, credentials }: GcsOptions): Promise<Readonly<Record<string, unknown>> | undefined> {
  if (keyfile === undefined || keyfile === "") return credentials;
  try {
    const parsed: unknown = JSON.parse(await readFile(keyfile, "utf8"));
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) throw new Error("found no JSON object");
    return { ...parsed };
  } catch (error) {
    // The parser's message quotes what it found, and that may be the key.
    const reason = error instanceof SyntaxError ? "the file is not JSON" : error instanceof Error ? error.message : String(error);
    throw new Error(`storage.gcs.keyfile: ${keyfile}: ${reason}; expected the JSON key file of a service account`);
  }
}

/** Where the variable for emulators leads; as for programs in Go, it may be host and port alone. */
function emulatorOf({ STORAGE_EMULATOR_HOST: host }: Readonly<Record<string, string | undefined>>): string | undefined {
  if (host === undefined || host === "") return undefined;
  const url = /^[a-z]+:\/\//i.test(host) ? host : `http://${host}`;
  if (!URL.canParse(url)) throw new Error(`STORAGE_EMULATOR_HOST: found "${host}", expected a URL, or host and port`);
  return url.replace(/\/+$/, "");
}

function universeOf(credentials: Readonly<Record<string, unknown>> | undefined): string {
  const universe = credentials?.["universe_domain"];
  return typeof universe === "string" && universe !== "" ? universe : DEFAULT_UNIVERSE;
}

/** As programs in Go do, this host is asked without a proxy. */
function isThisHost(endpoint: string): boolean {
  return URL.canParse(endpoint) && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(new URL(endpoint).hostname);
}

