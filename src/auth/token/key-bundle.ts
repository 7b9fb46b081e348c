import { createPublicKey, X509Certificate } from "node:crypto";
import { libtrustKeyId, thumbprintKeyId } from "./key-ids.ts";
import { type TrustedKey, trustKey } from "./trusted-key.ts";

/** What a PEM file of keys and certificates holds. */
export interface KeyBundle {
  /** Each key by both of its ids. */
  readonly keys: ReadonlyMap<string, TrustedKey>;
  /** The certificates, which chains must lead to. */
  readonly certificates: readonly X509Certificate[];
}

const BLOCK = /-----BEGIN (CERTIFICATE|PUBLIC KEY|RSA PUBLIC KEY)-----[\s\S]*?-----END \1-----/g;

/**
 * Reads a PEM bundle: certificates and, other than distribution, bare public keys. Blocks of other kinds are none of our business.
 * Keys are known by the ids of distribution 2.x (libtrust) and of 3.x (thumbprint), so that token servers made for either go on.
 * @throws Error naming the block that cannot be used, by its position from 1.
 */
export async function parseKeyBundle(pem: string): Promise<KeyBundle> {
  const keys = new Map<string, TrustedKey>();
  const certificates: X509Certificate[] = [];
  for (const [index, [block, kind]] of [...pem.matchAll(BLOCK)].entries()) {
    try {
      const certificate = kind === "CERTIFICATE" ? new X509Certificate(block) : undefined;
      if (certificate !== undefined) certificates.push(certificate);
      const trusted = trustKey(certificate?.publicKey ?? createPublicKey(block));
      keys.set(libtrustKeyId(trusted.key), trusted);
      keys.set(await thumbprintKeyId(trusted.key), trusted);
    } catch (error) {
      throw new Error(`block ${index + 1} (${kind}): ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
  return { keys, certificates };
}
