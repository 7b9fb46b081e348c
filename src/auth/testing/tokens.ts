import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { BasicConstraintsExtension, type X509Certificate, X509CertificateGenerator } from "@peculiar/x509";

/** How a token of each algorithm is signed, for tests: like a token server, without asking whether it makes sense. */
const DIGESTS: Readonly<Record<string, string>> = { "256": "sha256", "384": "sha384", "512": "sha512" };

/** A pair of keys. */
export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** Makes a pair of keys for an algorithm. */
export function makeKeys(algorithm: string): KeyPair {
  if (algorithm === "EdDSA") return generateKeyPairSync("ed25519");
  const curve = { ES256: "P-256", ES384: "P-384", ES512: "P-521" }[algorithm];
  return curve === undefined ? generateKeyPairSync("rsa", { modulusLength: 2048 }) : generateKeyPairSync("ec", { namedCurve: curve });
}

/** Signs claims; the header's `alg` says how. @param key A private key; for HS* a secret, whatever it is made of. */
export function signToken(header: { readonly alg: string; readonly [member: string]: unknown }, claims: unknown, key: KeyObject | string | Uint8Array): string {
  const encode = (value: unknown): string => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
  const input = `${encode({ typ: "JWT", ...header })}.${encode(claims)}`;
  return `${input}.${signatureOf(header.alg, Buffer.from(input), key).toString("base64url")}`;
}

function signatureOf(algorithm: string, input: Buffer, key: KeyObject | string | Uint8Array): Buffer {
  const digest = DIGESTS[algorithm.slice(2)] ?? "";
  if (algorithm.startsWith("HS")) return createHmac(digest, key).update(input).digest();
  if (typeof key === "string" || key instanceof Uint8Array) return Buffer.alloc(0);
  if (algorithm === "EdDSA") return sign(null, input, key);
  if (algorithm.startsWith("ES")) return sign(digest, input, { key, dsaEncoding: "ieee-p1363" });
  return sign(digest, input, algorithm.startsWith("PS") ? { key, padding: 6, saltLength: Number(algorithm.slice(2)) / 8 } : key);
}

/** A certificate of a test, with its keys. */
export interface TestCertificate {
  readonly certificate: X509Certificate;
  readonly pem: string;
  /** As it stands in `x5c`. */
  readonly base64: string;
  readonly keys: CryptoKeyPair;
  readonly privateKey: KeyObject;
}

/** What a certificate is like. */
export interface CertificateRequest {
  readonly name: string;
  /** Undefined: itself. */
  readonly issuer?: TestCertificate;
  readonly isAuthority: boolean;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** Makes a certificate with an EC key. */
export async function makeCertificate(request: CertificateRequest): Promise<TestCertificate> {
  const { KeyObject: KeyObjects } = await import("node:crypto");
  const keys = (await crypto.subtle.generateKey(ECDSA, true, ["sign", "verify"])) as CryptoKeyPair;
  const certificate = await X509CertificateGenerator.create({
    subject: `CN=${request.name}`,
    issuer: request.issuer?.certificate.subject ?? `CN=${request.name}`,
    notBefore: request.notBefore,
    notAfter: request.notAfter,
    publicKey: keys.publicKey,
    signingKey: (request.issuer?.keys ?? keys).privateKey,
    signingAlgorithm: ECDSA,
    extensions: [new BasicConstraintsExtension(request.isAuthority, undefined, true)],
  });
  return { certificate, keys, pem: certificate.toString("pem"), base64: certificate.toString("base64"), privateKey: KeyObjects.from(keys.privateKey) };
}
