import type { ClientCertificate } from "../auth/controller.ts";

/** Reads the names in a certificate of DER form. @throws Error when it is none */
export type CertificateReader = (der: Uint8Array) => ClientCertificate;

/** What could not stand in a log line or a header is no name. */
const NAME = /^[^\p{Cc}]{1,256}$/u;
/** Of what kinds of alternative names a user may be; an address names a machine. */
const KINDS: ReadonlySet<string> = new Set(["dns", "email", "url"]);

/**
 * Loads what reads certificates. The structure is read and not OpenSSL's one-line form of it, in which a name that holds a comma could
 * pass for two.
 */
export async function loadCertificateReader(): Promise<CertificateReader> {
  const { SubjectAlternativeNameExtension, X509Certificate } = await import("@peculiar/x509");
  return (der) => {
    const certificate = new X509Certificate(Buffer.from(der));
    const commonNames = certificate.subjectName.getField("CN");
    const alternatives = certificate.getExtension(SubjectAlternativeNameExtension)?.names.items ?? [];
    return {
      // With several it would depend on the reader who is meant.
      commonName: commonNames.length === 1 ? commonNames.find((name) => NAME.test(name)) : undefined,
      alternativeNames: alternatives.filter(({ type, value }) => KINDS.has(type) && NAME.test(value)).map(({ value }) => value),
    };
  };
}
