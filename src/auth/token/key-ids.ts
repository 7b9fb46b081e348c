import { createHash, type KeyObject } from "node:crypto";
import { calculateJwkThumbprint, exportJWK } from "jose";

const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** The id that distribution 2.x gives a key: libtrust's fingerprint, the first 30 bytes of the SHA-256 of its DER, as `TGAS:6OUF:…`. */
export function libtrustKeyId(key: KeyObject): string {
  const digest = createHash("sha256").update(key.export({ type: "spki", format: "der" })).digest().subarray(0, 30);
  let bits = "";
  for (const byte of digest) bits += byte.toString(2).padStart(8, "0");
  const text = (bits.match(/.{5}/g) ?? []).map((group) => BASE32.charAt(Number.parseInt(group, 2))).join("");
  return (text.match(/.{4}/g) ?? []).join(":");
}

/** The id that distribution 3.x gives a key. @see RFC 7638 */
export async function thumbprintKeyId(key: KeyObject): Promise<string> {
  return await calculateJwkThumbprint(await exportJWK(key), "sha256");
}
