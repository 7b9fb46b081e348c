import { createPublicKey, createSecretKey, type JsonWebKeyInput, type KeyObject } from "node:crypto";
import { thumbprintKeyId } from "./key-ids.ts";
import { type TrustedKey, trustKey } from "./trusted-key.ts";

/** What a JSON Web Key Set holds that can be used. */
export interface KeySet {
  readonly keys: ReadonlyMap<string, TrustedKey>;
  /** What cannot, and why: a line for each key, without its material. */
  readonly skipped: readonly string[];
}

/** A private key needs no more members than a public one, and no set needs more keys. */
const MAX_KEYS = 256;

/**
 * Reads a JSON Web Key Set. A key is known by its `kid`; by its thumbprint when it has none.
 * @param allowSecrets Whether symmetric keys are taken: not from where others may read them too.
 * @throws Error when it is no key set.
 * @see RFC 7517
 */
export async function parseKeySet(json: string, allowSecrets: "with-secrets" | "public-only"): Promise<KeySet> {
  const list = readList(json);
  const keys = new Map<string, TrustedKey>();
  const skipped: string[] = [];
  for (const [index, item] of list.entries()) {
    try {
      const jwk = asObject(item);
      const trusted = narrow(trustKey(importKey(jwk, allowSecrets)), jwk);
      keys.set(typeof jwk["kid"] === "string" && jwk["kid"] !== "" ? jwk["kid"] : await thumbprintKeyId(trusted.key), trusted);
    } catch (error) {
      skipped.push(`keys[${index}]: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { keys, skipped };
}

function readList(json: string): readonly unknown[] {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new Error("is not JSON, expected a JSON Web Key Set", { cause: error });
  }
  const keys = typeof value === "object" && value !== null && "keys" in value ? value.keys : undefined;
  if (!Array.isArray(keys)) throw new Error('has no list of "keys", expected a JSON Web Key Set');
  if (keys.length > MAX_KEYS) throw new Error(`has ${keys.length} keys, expected at most ${MAX_KEYS}`);
  return keys;
}

function asObject(item: unknown): Readonly<Record<string, unknown>> {
  if (typeof item !== "object" || item === null || Array.isArray(item)) throw new Error("is no key");
  return item as Readonly<Record<string, unknown>>;
}

function importKey(jwk: Readonly<Record<string, unknown>>, allowSecrets: "with-secrets" | "public-only"): KeyObject {
  if (jwk["use"] !== undefined && jwk["use"] !== "sig") throw new Error(`is for ${JSON.stringify(jwk["use"])}, expected "sig"`);
  if (jwk["kty"] !== "oct") return createPublicKey({ key: jwk as JsonWebKeyInput["key"], format: "jwk" });
  if (allowSecrets === "public-only") throw new Error("is a secret that others can read too");
  if (typeof jwk["k"] !== "string" || jwk["k"] === "") throw new Error("is a secret without its value");
  return createSecretKey(Buffer.from(jwk["k"], "base64url"));
}

function narrow(trusted: TrustedKey, jwk: Readonly<Record<string, unknown>>): TrustedKey {
  const algorithm = jwk["alg"];
  if (algorithm === undefined) return trusted;
  if (typeof algorithm !== "string" || !trusted.algorithms.includes(algorithm)) throw new Error(`is for the algorithm ${JSON.stringify(algorithm)}, which its kind cannot have`);
  return { key: trusted.key, algorithms: [algorithm] };
}
