import { RegistryError } from "./errors.ts";

/** A digest that was checked: `sha256:`, `sha384:` or `sha512:` and lower-case hex of the right length. */
export type Digest = string & { readonly __brand: "Digest" };

/** A hash algorithm that digests may use. */
export type DigestAlgorithm = "sha256" | "sha384" | "sha512";

const HEX_LENGTHS: Readonly<Record<DigestAlgorithm, number>> = { sha256: 64, sha384: 96, sha512: 128 };

/** Every algorithm that is accepted, the usual one first. */
export const DIGEST_ALGORITHMS = Object.keys(HEX_LENGTHS) as readonly DigestAlgorithm[];

/** Whether a name is that of an accepted algorithm. */
export function isDigestAlgorithm(text: string): text is DigestAlgorithm {
  return text === "sha256" || Object.hasOwn(HEX_LENGTHS, text);
}

/** Whether a text is an acceptable digest. */
export function isDigest(text: string): text is Digest {
  return digestProblem(text) === undefined;
}

/**
 * Checks a digest.
 * @throws RegistryError DIGEST_INVALID with what is wrong as detail.
 * @see OCI image-spec, "Digests"
 */
export function parseDigest(text: string): Digest {
  const problem = digestProblem(text);
  if (problem !== undefined) throw new RegistryError("DIGEST_INVALID", { detail: problem });
  return text as Digest;
}

/** The algorithm of a digest. */
export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.slice(0, 6) as DigestAlgorithm;
}

/** The hex part of a digest. */
export function hexOf(digest: Digest): string {
  return digest.slice(7);
}

/** Builds a digest from an algorithm and hex that a hash of ours made. */
export function makeDigest(algorithm: DigestAlgorithm, hex: string): Digest {
  return `${algorithm}:${hex}` as Digest;
}

/** Hashes bytes that are already in memory (manifests, small files). */
export function digestOf(bytes: Uint8Array | string, algorithm: DigestAlgorithm = "sha256"): Digest {
  return makeDigest(algorithm, Bun.CryptoHasher.hash(algorithm, bytes, "hex"));
}

function digestProblem(text: string): string | undefined {
  const colon = text.indexOf(":");
  if (colon < 1) return "invalid checksum digest format";
  const algorithm = text.slice(0, colon);
  if (!isDigestAlgorithm(algorithm)) return "unsupported digest algorithm";
  if (text.length - colon - 1 !== HEX_LENGTHS[algorithm]) return "invalid checksum digest length";
  for (let i = colon + 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (!((c >= 48 && c <= 57) || (c >= 97 && c <= 102))) return "invalid checksum digest format";
  }
  return undefined;
}
