import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign, verify } from "node:crypto";
import { ApiError } from "./answers.ts";

const GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPES = ["https://www.googleapis.com/auth/devstorage.full_control", "https://www.googleapis.com/auth/devstorage.read_write", "https://www.googleapis.com/auth/cloud-platform"];
const MAX_SKEW_SECONDS = 300;
const MAX_SIGNED_SECONDS = 7 * 24 * 3600;

/** The fields of a service account's key file. */
export type KeyFile = Readonly<Record<"type" | "project_id" | "private_key_id" | "private_key" | "client_email" | "client_id" | "token_uri", string>>;

/** A key file of a new account. Making one takes the processor a while. */
export function makeKeyFile(tokenUri: string, email = "registry@tests.iam.gserviceaccount.com"): KeyFile {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return {
    type: "service_account",
    project_id: "tests",
    private_key_id: randomBytes(20).toString("hex"),
    private_key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    client_email: email,
    client_id: "100000000000000000001",
    token_uri: tokenUri,
  };
}

/** Gives tokens to one service account, and knows its signatures. */
export class Account {
  readonly keyFile: KeyFile;
  readonly #publicKey: KeyObject;
  readonly #ttlSeconds: number;
  /** When each token ends, in milliseconds. */
  readonly #tokens = new Map<string, number>();
  /** How many tokens were given out. */
  tokensGiven = 0;
  /** Added to the time, to see what ends. */
  clockOffsetMs = 0;

  constructor(keyFile: KeyFile, ttlSeconds: number) {
    this.keyFile = keyFile;
    this.#publicKey = createPublicKey(keyFile.private_key);
    this.#ttlSeconds = ttlSeconds;
  }

  /** Signs claims with the account's key, for tests of what is refused. */
  sign(claims: object, header: object = { alg: "RS256", typ: "JWT" }): string {
    const signed = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
    return `${signed}.${sign("RSA-SHA256", Buffer.from(signed), this.keyFile.private_key).toString("base64url")}`;
  }

  /** Makes all tokens that were given out worthless. */
  revokeTokens(): void {
    this.#tokens.clear();
  }

  /** Answers a request for a token. @see RFC 7523 */
  async token(request: Request): Promise<Response> {
    const form = new URLSearchParams(await request.text());
    const audiences = [this.keyFile.token_uri, request.url];
    const refusal = form.get("grant_type") === GRANT ? this.#assertionFault(form.get("assertion") ?? "", audiences) : ["unsupported_grant_type", "Invalid grant_type"];
    if (refusal !== undefined) return Response.json({ error: refusal[0], error_description: refusal[1] }, { status: 400 });
    return Response.json(this.giveToken());
  }

  /** A new token, as answers have it. */
  giveToken(): { readonly access_token: string; readonly expires_in: number; readonly token_type: "Bearer" } {
    const token = `ya29.${randomBytes(24).toString("base64url")}`;
    this.tokensGiven++;
    this.#tokens.set(token, this.#now() + this.#ttlSeconds * 1000);
    return { access_token: token, expires_in: this.#ttlSeconds, token_type: "Bearer" };
  }

  /** @throws ApiError 401 for a request without a token that is good now */
  authorize(request: Request): void {
    const header = request.headers.get("authorization");
    if (header === null) throw new ApiError(401, "required", "Anonymous caller does not have storage.objects.get access to the Google Cloud Storage object. Permission 'storage.objects.get' denied on resource (or it may not exist).");
    const ends = this.#tokens.get(/^Bearer (\S+)$/.exec(header)?.[1] ?? "");
    if (ends === undefined || ends <= this.#now()) throw new ApiError(401, "authError", "Invalid Credentials");
  }

  /**
   * Checks a URL with a signature of version 4.
   * @returns What is wrong with it: a status, and a code of the XML API
   * @see Cloud Storage, "V4 signing process"
   */
  signatureFault(request: Request, url: URL): readonly [number, string] | undefined {
    const value = (name: string): string => url.searchParams.get(`X-Goog-${name}`) ?? "";
    const date = value("Date");
    const scope = `${date.slice(0, 8)}/auto/storage/goog4_request`;
    const seconds = Number(value("Expires"));
    if (value("Algorithm") !== "GOOG4-RSA-SHA256" || !/^\d{8}T\d{6}Z$/.test(date)) return [400, "InvalidArgument"];
    if (!Number.isInteger(seconds) || seconds < 1 || seconds > MAX_SIGNED_SECONDS) return [400, "AuthorizationQueryParametersError"];
    if (value("Credential") !== `${this.keyFile.client_email}/${scope}`) return [403, "SignatureDoesNotMatch"];
    const names = value("SignedHeaders").split(";");
    if (!names.includes("host")) return [400, "MissingSecurityHeader"];
    const headers = names.map((name) => `${name}:${(request.headers.get(name) ?? "").trim()}\n`).join("");
    const query = url.search.slice(1).split("&").filter((part) => !part.startsWith("X-Goog-Signature=")).sort().join("&");
    const canonical = [request.method, url.pathname, query, headers, names.join(";"), "UNSIGNED-PAYLOAD"].join("\n");
    const signed = ["GOOG4-RSA-SHA256", date, scope, createHash("sha256").update(canonical).digest("hex")].join("\n");
    if (!verify("RSA-SHA256", Buffer.from(signed), this.#publicKey, Buffer.from(value("Signature"), "hex"))) return [403, "SignatureDoesNotMatch"];
    const startMs = Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));
    if (startMs > this.#now() + MAX_SKEW_SECONDS * 1000) return [403, "AccessDenied"];
    if (startMs + seconds * 1000 < this.#now()) return [400, "ExpiredToken"];
    return undefined;
  }

  #assertionFault(assertion: string, audiences: readonly string[]): readonly [string, string] | undefined {
    const [head = "", body = "", signature = "", ...more] = assertion.split(".");
    const header = jsonOf(head);
    const claims = jsonOf(body);
    if (more.length > 0 || header?.["alg"] !== "RS256" || claims === undefined) return ["invalid_grant", "Bad Request"];
    if (!verify("RSA-SHA256", Buffer.from(`${head}.${body}`), this.#publicKey, Buffer.from(signature, "base64url"))) return ["invalid_grant", "Invalid JWT Signature."];
    if (claims["iss"] !== this.keyFile.client_email) return ["invalid_grant", "Invalid grant: account not found"];
    if (!audiences.includes(String(claims["aud"]))) return ["invalid_grant", "Invalid JWT: Failed audience check."];
    const now = this.#now() / 1000;
    const [issued, ends] = [Number(claims["iat"]), Number(claims["exp"])];
    if (!(issued <= now + MAX_SKEW_SECONDS && ends > now - MAX_SKEW_SECONDS && ends - issued <= 3600)) return ["invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."];
    const scopes = String(claims["scope"] ?? "").split(" ");
    return scopes.some((scope) => SCOPES.includes(scope)) ? undefined : ["invalid_scope", "Invalid OAuth scope or ID token audience provided."];
  }

  #now(): number {
    return Date.now() + this.clockOffsetMs;
  }
}

function jsonOf(part: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return JSON.parse(Buffer.from(part, "base64url").toString()) as Readonly<Record<string, unknown>>;
  } catch {
    return undefined;
  }
}
