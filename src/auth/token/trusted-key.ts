import type { KeyObject } from "node:crypto";

/** A key that tokens may be signed with, and the algorithms that go with it. */
export interface TrustedKey {
  readonly key: KeyObject;
  /** Never those of another kind of key: a public key must not be taken for the secret of an HMAC. */
  readonly algorithms: readonly string[];
}

const CURVES: Readonly<Record<string, string>> = { prime256v1: "ES256", secp384r1: "ES384", secp521r1: "ES512" };
const MIN_RSA_BITS = 2048;

/**
 * Finds out what a key can verify.
 * @throws Error that says why it can verify nothing.
 */
export function trustKey(key: KeyObject): TrustedKey {
  return { key, algorithms: algorithmsOf(key) };
}

function algorithmsOf(key: KeyObject): readonly string[] {
  if (key.type === "secret") return ["HS256", "HS384", "HS512"];
  const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case "rsa":
    case "rsa-pss":
      // The least that RFC 7518, section 3.3, lets anybody take.
      if ((modulusLength ?? 0) < MIN_RSA_BITS) throw new Error(`an RSA key of ${modulusLength} bits is too short, expected at least ${MIN_RSA_BITS}`);
      return key.asymmetricKeyType === "rsa" ? ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] : ["PS256", "PS384", "PS512"];
    case "ec": {
      const algorithm = CURVES[namedCurve ?? ""];
      if (algorithm === undefined) throw new Error(`a key on the curve ${namedCurve} signs no tokens, expected P-256, P-384 or P-521`);
      return [algorithm];
    }
    case "ed25519":
      return ["EdDSA"];
    default:
      throw new Error(`a key of the kind ${key.asymmetricKeyType} signs no tokens, expected RSA, EC or Ed25519`);
  }
}
