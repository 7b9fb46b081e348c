import { readFile } from "node:fs/promises";
import { Agent } from "node:https";
import type { Client } from "acme-client";
import type { HttpOptions } from "../../http/options.ts";
import { outgoingProxy } from "../../lib/outgoing-proxy.ts";
import type { KeyPair } from "../tls.ts";
import { type ChallengeListener, listenForChallenges } from "./challenge-listener.ts";
import type { AcmeState } from "./state.ts";

/** `http.tls.letsencrypt`, parsed. */
export type AcmeOptions = HttpOptions["tls"]["letsencrypt"];

const REQUEST_TIMEOUT_MS = 30_000;
/** Requests that the directory answers with an error of its own, or not at all, are tried again by the library this often. */
const REQUEST_RETRIES = 2;
/** An authority validates within seconds; this waits for three minutes or so. */
const POLLS = { backoffAttempts: 20, backoffMin: 500, backoffMax: 15_000 };

/**
 * Orders one certificate for all hosts, with a new key, and answers the challenges meanwhile.
 * @throws Error that says what failed, and what to do about it.
 */
export async function orderCertificate(options: AcmeOptions, state: AcmeState): Promise<KeyPair> {
  const authorities = await readAuthorities(options.rootcas);
  await reachDirectory(options.directoryurl, authorities);
  const acme = await import("acme-client");
  // The library has one HTTP client for all, and these are its only settings.
  Object.assign(acme.axios.defaults, {
    timeout: REQUEST_TIMEOUT_MS,
    acmeSettings: { retryMaxAttempts: REQUEST_RETRIES, retryDefaultDelay: 1 },
    ...(authorities.length === 0 ? {} : { httpsAgent: new Agent({ ca: authorities }) }),
  });

  let accountKey = await state.readAccountKey();
  if (accountKey === undefined) {
    accountKey = (await acme.crypto.createPrivateEcdsaKey("P-256")).toString();
    await state.writeAccountKey(accountKey);
  }
  const client = new acme.Client({ directoryUrl: options.directoryurl, accountKey, ...POLLS });
  const [key, csr] = await acme.crypto.createCsr({ altNames: [...options.hosts] }, await acme.crypto.createPrivateEcdsaKey("P-256"));
  await using challenges = await listenForChallenges(options.httpaddr);
  return { key: key.toString(), certificate: await run(client, { csr, options, challenges }) };
}

async function run(client: Client, order: { readonly csr: Buffer; readonly options: AcmeOptions; readonly challenges: ChallengeListener }): Promise<string> {
  const { csr, options, challenges } = order;
  try {
    return await client.auto({
      csr,
      ...(options.email === undefined ? {} : { email: options.email }),
      termsOfServiceAgreed: true,
      challengePriority: ["http-01"],
      // The library would ask our own port 80 by the public name, which not every network leads back to itself.
      skipChallengeVerification: true,
      challengeCreateFn: async (authorization, challenge, keyAuthorization) => {
        if (challenge.type !== "http-01") throw new Error(`the authority offers no http-01 challenge for ${authorization.identifier.value}`);
        challenges.set(challenge.token, keyAuthorization);
      },
      challengeRemoveFn: async () => {},
    });
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : String(error)}; ${adviceFor(error, options)}`, { cause: error });
  }
}

function adviceFor(error: unknown, options: AcmeOptions): string {
  const text = String(error);
  if (/rateLimited|too many/i.test(text)) return "the authority limits how often it is asked: it is tried again later, by itself";
  if (/rejectedIdentifier|policy/i.test(text)) return `the authority gives no certificates for one of http.tls.letsencrypt.hosts (${options.hosts.join(", ")})`;
  return `each of ${options.hosts.join(", ")} must lead to this host in the DNS, and its port 80 to http.tls.letsencrypt.httpaddr (${options.httpaddr})`;
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
