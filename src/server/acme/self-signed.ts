import { createHash } from "node:crypto";
import type { Extension } from "@peculiar/x509";
import type { KeyPair } from "../tls.ts";

const HOUR_MS = 3_600_000;
const TEMPORARY_MS = 90 * 24 * HOUR_MS;
const CHALLENGE_MS = 24 * HOUR_MS;
/** `id-pe-acmeIdentifier` */
const ACME_IDENTIFIER = "1.3.6.1.5.5.7.1.31";
/** A DER octet string of 32 bytes. */
const SHA256_HEADER = Uint8Array.of(4, 32);

/**
 * Makes a certificate that nobody trusts, for the time until the first one is ordered. The listener has to run meanwhile: where it is
 * what tells a load balancer that the host is up, no challenge would ever come through otherwise.
 */
export async function makeTemporaryCertificate(hosts: readonly string[], now: number): Promise<KeyPair> {
  return await makeSelfSigned({ name: "temporary certificate of the registry", hosts, from: now - HOUR_MS, until: now + TEMPORARY_MS });
}

/**
 * Makes the certificate that a TLS-ALPN-01 challenge is answered with.
 * @see RFC 8737, section 3
 */
export async function makeChallengeCertificate(host: string, keyAuthorization: string, now: number): Promise<KeyPair> {
  const { Extension } = await import("@peculiar/x509");
  const proof = new Extension(ACME_IDENTIFIER, true, Buffer.concat([SHA256_HEADER, createHash("sha256").update(keyAuthorization).digest()]));
  return await makeSelfSigned({ name: "answer to a challenge", hosts: [host], from: now - HOUR_MS, until: now + CHALLENGE_MS, extensions: [proof] });
}

interface SelfSigned {
  readonly name: string;
  readonly hosts: readonly string[];
  readonly from: number;
  readonly until: number;
  readonly extensions?: readonly Extension[];
}

async function makeSelfSigned({ name, hosts, from, until, extensions = [] }: SelfSigned): Promise<KeyPair> {
  const { SubjectAlternativeNameExtension, X509CertificateGenerator } = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(from),
    notAfter: new Date(until),
    extensions: [new SubjectAlternativeNameExtension(hosts.map((value) => ({ type: "dns", value }))), ...extensions],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  return { certificate: certificate.toString("pem"), key: `-----BEGIN PRIVATE KEY-----\n${pkcs8.toString("base64").replace(/.{64}/g, "$&\n").trimEnd()}\n-----END PRIVATE KEY-----\n` };
}
