import { z } from "zod";
import { duration, flag, text, texts, url } from "../../lib/fields.ts";

/** The signing algorithms that tokens may have. */
export const SIGNING_ALGORITHMS = ["EdDSA", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"] as const;

/** `auth.token` */
export const TOKEN_OPTIONS = z.object({
  realm: text().describe("URL of the token server."),
  service: text().describe("The name of this registry in tokens."),
  issuer: text().describe("Who must have issued them."),
  rootcertbundle: text().optional().describe("PEM file of certificates, and bare public keys, that sign tokens."),
  jwks: text().optional().describe("JSON Web Key Set file with keys that sign tokens."),
  jwksurl: url().optional().describe("Where such a set is fetched from; no secrets are taken from there."),
  jwksrefresh: duration({ min: 1_000 }).prefault("1h").describe("How often it is fetched again."),
  signingalgorithms: texts().prefault([...SIGNING_ALGORITHMS]).describe("Algorithms that are accepted."),
  autoredirect: flag().prefault(false).describe("Point clients to a token server on the host that they asked for."),
  autoredirectpath: text().prefault("/auth/token").describe("Its path."),
});

/** `auth.token`, parsed. */
export type TokenOptions = z.output<typeof TOKEN_OPTIONS>;
