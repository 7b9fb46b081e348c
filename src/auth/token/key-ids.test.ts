import { describe, expect, test } from "bun:test";
import { createPublicKey, type KeyObject } from "node:crypto";
import { makeKeys } from "../testing/tokens.ts";
import { libtrustKeyId, thumbprintKeyId } from "./key-ids.ts";

const RFC7638_KEY = {
  kty: "RSA",
  n: "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
  e: "AQAB",
};
const RFC8037_KEY = { kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" };

const importJwk = (jwk: object): KeyObject => createPublicKey({ key: jwk, format: "jwk" });

describe("thumbprintKeyId", () => {
  test("of the key in RFC 7638, section 3.1", async () => expect(await thumbprintKeyId(importJwk(RFC7638_KEY))).toBe("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
  test("of the key in RFC 8037, appendix A.3", async () => expect(await thumbprintKeyId(importJwk(RFC8037_KEY))).toBe("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
});

describe("libtrustKeyId", () => {
  test.each(["RS256", "ES256", "EdDSA"])("of a key for %s is what shell tools make of it", async (algorithm) => {
    const { publicKey } = makeKeys(algorithm);
    const der = publicKey.export({ type: "spki", format: "der" });
    const expected = await Bun.$`openssl dgst -sha256 -binary < ${der} | head -c 30 | base32 -w 4 | paste -sd :`.text();
    expect(libtrustKeyId(publicKey)).toBe(expected.trim());
    expect(libtrustKeyId(publicKey)).toMatch(/^([A-Z2-7]{4}:){11}[A-Z2-7]{4}$/);
  });
});
