import type { TestCertificate } from "./certificates.ts";

/** The tenant of a directory that stands for itself (ADFS), which the SDK does not ask Microsoft about. */
export const TENANT = "adfs";

/** A directory that gives tokens which Azurite takes: it looks at what they say, not at who signed them. */
export interface AzureDirectory extends AsyncDisposable {
  /** For AZURE_AUTHORITY_HOST. */
  readonly url: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** How often it gave a token. */
  readonly given: number;
}

/** Starts a directory on loopback that knows one application, by a secret. */
export function startAzureDirectory({ certificate, key }: Pick<TestCertificate, "certificate" | "key">): AzureDirectory {
  const [clientId, clientSecret] = ["11111111-2222-3333-4444-555555555555", "a secret of the application"];
  let given = 0;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    development: false,
    tls: { cert: certificate, key },
    fetch: async (request): Promise<Response> => {
      const url = new URL(request.url);
      const authority = `${url.origin}/${TENANT}`;
      if (url.pathname.endsWith("/.well-known/openid-configuration")) {
        return Response.json({ issuer: authority, authorization_endpoint: `${authority}/oauth2/authorize`, token_endpoint: `${authority}/oauth2/token`, jwks_uri: `${authority}/discovery/keys` });
      }
      if (url.pathname !== `/${TENANT}/oauth2/token`) return new Response("not here", { status: 404 });
      const form = new URLSearchParams(await request.text());
      const isKnown = form.get("grant_type") === "client_credentials" && form.get("client_id") === clientId && form.get("client_secret") === clientSecret;
      if (!isKnown) return Response.json({ error: "invalid_client", error_description: "AADSTS7000215: Invalid client secret provided." }, { status: 401 });
      given++;
      return Response.json({ token_type: "Bearer", expires_in: 3600, access_token: storageToken() });
    },
  });
  return {
    url: `https://127.0.0.1:${server.port}`,
    clientId,
    clientSecret,
    get given() {
      return given;
    },
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

/** A token for the blob service, good for an hour. */
export function storageToken(): string {
  const now = Math.floor(Date.now() / 1000);
  const claims = { aud: "https://storage.azure.com", iss: "https://sts.windows.net/tenant/", iat: now - 60, nbf: now - 60, exp: now + 3600, oid: "object", tid: "tenant" };
  return [{ alg: "RS256", typ: "JWT" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".") + ".c2lnbmF0dXJl";
}
