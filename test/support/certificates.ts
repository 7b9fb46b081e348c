import { join } from "node:path";
import { BasicConstraintsExtension, ExtendedKeyUsage, ExtendedKeyUsageExtension, type GeneralNameType, SubjectAlternativeNameExtension, X509CertificateGenerator } from "@peculiar/x509";

/** A key with its certificate, in PEM. */
export interface TestCertificate {
  readonly certificate: string;
  readonly key: string;
  /** For authorities and chains. */
  readonly pair: CryptoKeyPair;
  readonly name: string;
  readonly algorithm: "ec" | "rsa";
}

/** What to make. */
export interface CertificateOptions {
  /** Default: signed by itself. */
  readonly issuer?: TestCertificate;
  readonly isAuthority?: boolean;
  /** Default P-256. */
  readonly algorithm?: "ec" | "rsa";
  /** Default `CN=` and the name. */
  readonly subject?: string;
  /** Default localhost and 127.0.0.1. */
  readonly alternativeNames?: readonly { readonly type: GeneralNameType; readonly value: string }[];
  /** Default: none is named, and every one is good. */
  readonly purpose?: "server" | "client";
  /** Default: a day from now. */
  readonly notAfter?: Date;
}

const ALGORITHMS = {
  ec: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  rsa: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", publicExponent: new Uint8Array([1, 0, 1]), modulusLength: 2048 },
} as const;
const LOCALHOST = [{ type: "dns", value: "localhost" }, { type: "ip", value: "127.0.0.1" }] as const;
const PURPOSES = { server: ExtendedKeyUsage.serverAuth, client: ExtendedKeyUsage.clientAuth } as const;
const HOUR_MS = 3_600_000;

/** Makes a certificate for a name; unless told otherwise, for localhost and 127.0.0.1 as well. */
export async function makeCertificate(name: string, options: CertificateOptions = {}): Promise<TestCertificate> {
  const algorithm = options.algorithm ?? "ec";
  const pair = (await crypto.subtle.generateKey(ALGORITHMS[algorithm], true, ["sign", "verify"])) as CryptoKeyPair;
  const made = await X509CertificateGenerator.create({
    serialNumber: Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString("hex").replace(/^./, "1"),
    subject: options.subject ?? `CN=${name}`,
    issuer: `CN=${options.issuer?.name ?? name}`,
    notBefore: new Date(Date.now() - HOUR_MS),
    notAfter: options.notAfter ?? new Date(Date.now() + 24 * HOUR_MS),
    publicKey: pair.publicKey,
    signingKey: (options.issuer?.pair ?? pair).privateKey,
    signingAlgorithm: ALGORITHMS[options.issuer?.algorithm ?? algorithm],
    extensions: [
      new BasicConstraintsExtension(options.isAuthority === true, undefined, true),
      new SubjectAlternativeNameExtension([...(options.alternativeNames ?? LOCALHOST)]),
      ...(options.purpose === undefined ? [] : [new ExtendedKeyUsageExtension([PURPOSES[options.purpose]])]),
    ],
  });
  const key = Buffer.from(await crypto.subtle.exportKey("pkcs8", pair.privateKey)).toString("base64");
  return { certificate: `${made.toString("pem")}\n`, key: `-----BEGIN PRIVATE KEY-----\n${key.replace(/.{64}/g, "$&\n")}\n-----END PRIVATE KEY-----\n`, pair, name, algorithm };
}

/** Writes certificate and key as `<name>.crt` and `<name>.key`. */
export async function writeCertificate(folder: string, name: string, certificate: TestCertificate): Promise<{ readonly certificateFile: string; readonly keyFile: string }> {
  const certificateFile = join(folder, `${name}.crt`);
  const keyFile = join(folder, `${name}.key`);
  await Bun.write(certificateFile, certificate.certificate);
  await Bun.write(keyFile, certificate.key);
  return { certificateFile, keyFile };
}
