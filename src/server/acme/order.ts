import { readFile } from "node:fs/promises";
import { Agent } from "node:https";
import type { Client } from "acme-client";
import type { HttpOptions } from "../../http/options.ts";
import { outgoingProxy } from "../../lib/outgoing-proxy.ts";
import type { KeyPair } from "../tls.ts";
import type { AcmeState } from "./state.ts";

/** `http.tls.letsencrypt`, parsed. */
export type AcmeOptions = HttpOptions["tls"]["letsencrypt"];

const REQUEST_TIMEOUT_MS = 30_000;
/** Requests that the directory answers with an error of its own, or not at all, are tried again by the library this often. */
const REQUEST_RETRIES = 2;
/** An authority validates within seconds; this waits for three minutes or so. */
const POLLS = { backoffAttempts: 20, backoffMin: 500, backoffMax: 15_000 };

/** A challenge, and what proves that the host is ours. */
export interface ChallengeAnswer {
  readonly host: string;
  readonly token: string;
  readonly keyAuthorization: string;
}

/** Answers challenges of one type. */
export interface ChallengeAnswerer {
  readonly type: "http-01" | "tls-alpn-01";
  /** Keeps an answer ready. */
  add(answer: ChallengeAnswer): Promise<void>;
}

/**
 * Orders one certificate for all hosts, with a new key.
 * @throws Error that says what failed, and what to do about it.
 */
export async function orderCertificate(options: AcmeOptions, { state, answerer }: { readonly state: AcmeState; readonly answerer: ChallengeAnswerer }): Promise<KeyPair> {
  const authorities = await readAuthorities(options.rootcas);
  await reachDirectory(options.directoryurl, authorities);
  const acme = await import("acme-client");
  // The library has one HTTP client for all, and these are its only settings.
  Object.assign(acme.axios.defaults, {
    timeout: REQUEST_TIMEOUT_MS,
    acmeSettings: { retryMaxAttempts: REQUEST_RETRIES, retryDefaultDelay: 1 },
    ...(authorities.length === 0 ? {} : { httpsAgent: new Agent({ ca: authorities }) }),
  });

  const knownKey = await state.readAccountKey();
  const accountKey = knownKey ?? (await acme.crypto.createPrivateEcdsaKey("P-256")).toString();
  if (knownKey === undefined) await state.writeAccountKey(accountKey);
  const client = new acme.Client({ directoryUrl: options.directoryurl, accountKey, ...POLLS });
  const [key, csr] = await acme.crypto.createCsr({ altNames: [...options.hosts] }, await acme.crypto.createPrivateEcdsaKey("P-256"));
  return { key: key.toString(), certificate: await run(client, { csr, options, answerer }) };
}

async function run(client: Client, order: { readonly csr: Buffer; readonly options: AcmeOptions; readonly answerer: ChallengeAnswerer }): Promise<string> {
  const { csr, options, answerer } = order;
  try {
    await openAccount(client, options.email);
    return await client.auto({
      csr,
      challengePriority: [answerer.type],
      // The library would ask ourselves by the public name, which not every network leads back to itself.
      skipChallengeVerification: true,
      challengeCreateFn: async (authorization, challenge, keyAuthorization) => {
        const host = authorization.identifier.value;
        if (challenge.type !== answerer.type) throw new Error(`the authority offers no ${answerer.type} challenge for ${host}`);
        await answerer.add({ host, token: challenge.token, keyAuthorization });
      },
      challengeRemoveFn: async () => {},
    });
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : String(error)}; ${adviceFor(error, options)}`, { cause: error });
  }
}

// The library would change an account that exists to what it is, which authorities refuse.
async function openAccount(client: Client, email: string | undefined): Promise<void> {
  const contact = email === undefined ? {} : { contact: [`mailto:${email}`] };
  if (!(await hasAccount(client))) await client.createAccount({ termsOfServiceAgreed: true, ...contact });
  else if (email !== undefined) await client.updateAccount(contact);
}

async function hasAccount(client: Client): Promise<boolean> {
  try {
    await client.createAccount({ onlyReturnExisting: true });
    return true;
  } catch {
    // The library tells errors apart by texts of the authority alone. If it is another one, creating the account meets it again.
    return false;
  }
}

function adviceFor(error: unknown, options: AcmeOptions): string {
  const text = String(error);
  if (/rateLimited|too many/i.test(text)) return "the authority limits how often it is asked: it is tried again later, by itself";
  if (/rejectedIdentifier|policy/i.test(text)) return `the authority gives no certificates for one of http.tls.letsencrypt.hosts (${options.hosts.join(", ")})`;
  const port = options.challenge === "http-01" ? `port 80 to http.tls.letsencrypt.httpaddr (${options.httpaddr})` : "port 443 to http.addr, with nothing before it that ends TLS";
  return `each of ${options.hosts.join(", ")} must lead to this host in the DNS, and its ${port}`;
}

// The library's own errors of a directory that cannot be reached say nothing of why.
async function reachDirectory(url: string, authorities: readonly string[]): Promise<void> {
  const hint = "check http.tls.letsencrypt.directoryurl and whether this host reaches it; an authority of your own needs its certificate in http.tls.letsencrypt.rootcas";
  let response: Response;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS), ...(authorities.length === 0 ? {} : { tls: { ca: [...authorities] } }), ...outgoingProxy(new URL(url)) });
    await response.body?.cancel();
  } catch (error) {
    throw new Error(`cannot reach the ACME directory ${url}: ${error instanceof Error ? error.message : String(error)}; ${hint}`, { cause: error });
  }
  if (!response.ok) throw new Error(`the ACME directory ${url} answers with status ${response.status}; ${hint}`);
}

// What is given here would replace the system's authorities, so these are given too.
async function readAuthorities(files: readonly string[]): Promise<string[]> {
  if (files.length === 0) return [];
  const { rootCertificates } = await import("node:tls");
  const own = files.map(async (file) => {
    try {
      return await readFile(file, "utf8");
    } catch (error) {
      throw new Error(`http.tls.letsencrypt.rootcas: cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  });
  return [...(await Promise.all(own)), ...rootCertificates];
}
