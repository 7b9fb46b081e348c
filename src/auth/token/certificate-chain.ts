import { X509Certificate } from "node:crypto";
import { type TrustedKey, trustKey } from "./trusted-key.ts";

const MAX_CERTIFICATES = 8;

/**
 * Verifies a token's certificate chain: every certificate is in its time, each is issued by the next, which is an authority, and
 * somewhere on the way one is trusted or issued by a trusted one. What the certificates are for does not count, as in distribution.
 * Path lengths are not looked at: an authority below a trusted one could sign for itself whatever it signs for another.
 * @param chain Base64 of DER each, the signer's first.
 * @param now Milliseconds since the epoch.
 * @returns The signer's key; undefined when the chain proves nothing.
 * @see RFC 7515, section 4.1.6
 */
export function verifyChain(chain: readonly unknown[], trusted: readonly X509Certificate[], now: number): TrustedKey | undefined {
  if (chain.length === 0 || chain.length > MAX_CERTIFICATES) return undefined;
  try {
    const certificates = chain.map((text) => new X509Certificate(Buffer.from(asText(text), "base64")));
    const [signer] = certificates;
    return signer !== undefined && leadsToTrust(certificates, trusted, now) ? trustKey(signer.publicKey) : undefined;
  } catch {
    // No certificate, or none whose key could be used: it proves nothing.
    return undefined;
  }
}

function leadsToTrust(certificates: readonly X509Certificate[], trusted: readonly X509Certificate[], now: number): boolean {
  for (const [index, certificate] of certificates.entries()) {
    if (!isInItsTime(certificate, now)) return false;
    if (trusted.some((root) => root.fingerprint256 === certificate.fingerprint256 || (isInItsTime(root, now) && isIssuedBy(certificate, root)))) return true;
    const issuer = certificates[index + 1];
    if (issuer === undefined || !isIssuedBy(certificate, issuer)) return false;
  }
  return false;
}

function isInItsTime(certificate: X509Certificate, now: number): boolean {
  return Date.parse(certificate.validFrom) <= now && now <= Date.parse(certificate.validTo);
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function asText(value: unknown): string {
  if (typeof value !== "string") throw new TypeError("expected base64");
  return value;
}
