import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import type { HttpOptions } from "../http/options.ts";
import type { Logger } from "../telemetry/log.ts";
import type { TlsMaterial } from "./listen.ts";
import type { FrontPurpose } from "./tls-front.ts";

/** OpenSSL names of the suites that distribution knows by their IANA names. */
const CIPHER_SUITES: Readonly<Record<string, string>> = {
  TLS_RSA_WITH_3DES_EDE_CBC_SHA: "DES-CBC3-SHA",
  TLS_RSA_WITH_AES_128_CBC_SHA: "AES128-SHA",
  TLS_RSA_WITH_AES_256_CBC_SHA: "AES256-SHA",
  TLS_RSA_WITH_AES_128_CBC_SHA256: "AES128-SHA256",
  TLS_RSA_WITH_AES_128_GCM_SHA256: "AES128-GCM-SHA256",
  TLS_RSA_WITH_AES_256_GCM_SHA384: "AES256-GCM-SHA384",
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: "ECDHE-ECDSA-AES128-SHA",
  TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA: "ECDHE-ECDSA-AES256-SHA",
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256: "ECDHE-ECDSA-AES128-SHA256",
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: "ECDHE-ECDSA-AES128-GCM-SHA256",
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: "ECDHE-ECDSA-AES256-GCM-SHA384",
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305",
  TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA: "ECDHE-RSA-DES-CBC3-SHA",
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: "ECDHE-RSA-AES128-SHA",
  TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: "ECDHE-RSA-AES256-SHA",
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256: "ECDHE-RSA-AES128-SHA256",
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: "ECDHE-RSA-AES128-GCM-SHA256",
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: "ECDHE-RSA-AES256-GCM-SHA384",
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-RSA-CHACHA20-POLY1305",
};
const TLS13_SUITES = new Set(["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]);
const DEFAULT_CIPHERS = [
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
].join(":");

const TLS_VERSIONS = { "TLSv1.2": 0x0303, "TLSv1.3": 0x0304 } as const;

/** A certificate and its key, in PEM text. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/** Whether the listener speaks TLS. */
export function isTlsOn(tls: HttpOptions["tls"]): boolean {
  return tls.certificate !== undefined || tls.letsencrypt.cachefile !== undefined || tls.letsencrypt.cachedir !== undefined;
}

/**
 * Reads certificate and key, and proves that they can serve.
 * @throws Error that names the file and what is wrong with it.
 */
export function readKeyPair(certificateFile: string, keyFile: string): KeyPair {
  const certificate = readPem("http.tls.certificate", certificateFile);
  const key = readPem("http.tls.key", keyFile);
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: 4,ENCRYPTED/.test(key)) throw new Error(`http.tls.key: ${keyFile} is encrypted; give the key without a passphrase (openssl pkey -in ${keyFile} -out plain.pem)`);
  let leaf: X509Certificate;
  try {
    leaf = new X509Certificate(certificate);
  } catch (error) {
    throw new Error(`http.tls.certificate: ${certificateFile} holds no certificate in PEM form`, { cause: error });
  }
  try {
    if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error("it belongs to another certificate");
  } catch (error) {
    throw new Error(`http.tls.key: ${keyFile} is not the key of ${certificateFile}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  return { certificate, key };
}

/** What TLS is made for, beside its keys. */
export interface TlsPurpose {
  readonly log: Logger;
  /** Whether verified certificates name users. */
  readonly certificatesNameUsers: boolean;
}

/** Everything that TLS needs, from the configuration and a key pair. @throws Error naming the key and file */
export function tlsMaterial(tls: HttpOptions["tls"], pair: KeyPair, { log, certificatesNameUsers }: TlsPurpose): TlsMaterial {
  const clientCas = tls.clientcas.map((file) => {
    const pem = readPem("http.tls.clientcas", file);
    if (!pem.includes("-----BEGIN CERTIFICATE-----")) throw new Error(`could not add CA to pool: http.tls.clientcas: ${file} holds no certificate in PEM form`);
    return pem;
  });
  const asksForOne = clientCas.length > 0;
  const material: TlsMaterial = {
    ...pair,
    clientCas,
    requestCertificate: asksForOne,
    rejectUnauthorized: asksForOne && tls.clientauth === "require-and-verify-client-cert",
    minVersion: tls.minimumtls === "tls1.3" ? "TLSv1.3" : "TLSv1.2",
    ciphers: ciphers(tls, log),
    front: asksForOne ? frontPurpose(tls.clientauth, { log, certificatesNameUsers }) : undefined,
  };
  createSecureContext({ cert: pair.certificate, key: pair.key, ...(material.ciphers === undefined ? {} : { ciphers: material.ciphers }) });
  return material;
}

// Bun's HTTP server knows two of the four: it demands a verified certificate, or looks at none.
function frontPurpose(mode: HttpOptions["tls"]["clientauth"], { log, certificatesNameUsers }: TlsPurpose): FrontPurpose | undefined {
  const policy = { required: mode.startsWith("require-"), verified: mode === "require-and-verify-client-cert" || mode === "verify-client-cert-if-given" };
  return certificatesNameUsers || policy.required !== policy.verified ? { policy, log } : undefined;
}

/** The same in Bun's words. */
export function bunTlsOptions(tls: TlsMaterial): Bun.TLSOptions {
  return {
    cert: tls.certificate,
    key: tls.key,
    minVersion: TLS_VERSIONS[tls.minVersion],
    ...(tls.clientCas.length === 0 ? {} : { ca: [...tls.clientCas] }),
    ...(tls.requestCertificate ? { requestCert: true, rejectUnauthorized: tls.rejectUnauthorized } : {}),
    ...(tls.ciphers === undefined ? {} : { ciphers: tls.ciphers }),
  } as Bun.TLSOptions;
}

function ciphers(tls: HttpOptions["tls"], log: Logger): string | undefined {
  if (tls.minimumtls === "tls1.0" || tls.minimumtls === "tls1.1") log.warn("http.tls.minimumtls is older than TLS 1.2, which is what is used", { minimumtls: tls.minimumtls });
  if (tls.minimumtls === "tls1.3") {
    if (tls.ciphersuites.length > 0) log.warn("restricting cipher suites is not possible with TLS 1.3; http.tls.ciphersuites is ignored");
    return undefined;
  }
  if (tls.ciphersuites.length === 0) return DEFAULT_CIPHERS;
  const named = tls.ciphersuites.filter((suite) => !TLS13_SUITES.has(suite)).map(cipherName);
  return named.length === 0 ? undefined : named.join(":");
}

function cipherName(suite: string): string {
  const name = CIPHER_SUITES[suite] ?? Object.values(CIPHER_SUITES).find((known) => known === suite);
  if (name === undefined) throw new Error(`unknown TLS cipher suite '${suite}' specified for http.tls.cipherSuites, expected one of ${[...Object.keys(CIPHER_SUITES), ...TLS13_SUITES].join(", ")}`);
  return name;
}

function readPem(key: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new Error(`${key}: cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
