import type { KeyPair } from "../tls.ts";

const LIFETIME_MS = 90 * 24 * 3_600_000;

/**
 * Makes a certificate that nobody trusts, for the time until the first one is ordered. The listener has to run meanwhile: where it is
 * what tells a load balancer that the host is up, no challenge would ever come through otherwise.
 */
export async function makeTemporaryCertificate(hosts: readonly string[], now: number): Promise<KeyPair> {
  const { SubjectAlternativeNameExtension, X509CertificateGenerator } = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: "CN=temporary certificate of the registry",
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(now - 3_600_000),
    notAfter: new Date(now + LIFETIME_MS),
    extensions: [new SubjectAlternativeNameExtension(hosts.map((value) => ({ type: "dns", value })))],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  return { certificate: certificate.toString("pem"), key: `-----BEGIN PRIVATE KEY-----\n${pkcs8.toString("base64").replace(/.{64}/g, "$&\n").trimEnd()}\n-----END PRIVATE KEY-----\n` };
}
