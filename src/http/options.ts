import { z } from "zod";
import { byteSize, choice, duration, flag, headers, integer, secret, text, texts } from "../lib/fields.ts";
import { MAX_MANIFEST_BYTES } from "../oci/manifest.ts";
import { isAddressRange } from "./trusted-proxies.ts";

const LETSENCRYPT = z.object({
  cachefile: text().optional().describe("Where the account and the certificates are kept: a file of distribution 2.x, or a folder. Turns ACME on."),
  cachedir: text().optional().describe("The same, under a clearer name; always a folder."),
  email: text().optional().describe("Where the certificate authority may write to."),
  hosts: texts().prefault([]).describe("Host names that certificates are ordered for; at least one."),
  directoryurl: text().prefault("https://acme-v02.api.letsencrypt.org/directory").describe("The ACME directory of the certificate authority."),
  challenge: choice(["tls-alpn-01", "http-01"]).prefault("tls-alpn-01").describe("How control over the hosts is proven: on port 443, which must lead to http.addr, or on port 80."),
  httpaddr: text().prefault(":80").describe("Where http-01 challenges are answered, while a certificate is ordered."),
  renewbefore: duration({ min: 0 }).prefault("720h").describe("How long before its end a certificate is renewed."),
  rootcas: texts().prefault([]).describe("PEM files of authorities that the directory's own certificate may come from, beside the system's."),
});

const TLS = z.object({
  certificate: text().optional().describe("PEM file of the certificate and its chain. Turns TLS on; read again when it changes."),
  key: text().optional().describe("PEM file of its private key, not encrypted."),
  clientcas: texts().prefault([]).describe("PEM files of the authorities that client certificates must come from. Turns client certificates on."),
  clientauth: choice(["require-and-verify-client-cert", "request-client-cert", "require-any-client-cert", "verify-client-cert-if-given"]).prefault("require-and-verify-client-cert").describe("What is asked of clients; only with clientcas."),
  minimumtls: choice(["tls1.0", "tls1.1", "tls1.2", "tls1.3"]).prefault("tls1.2").describe("The oldest TLS version that is spoken; tls1.0 and tls1.1 are taken for tls1.2, with a warning."),
  ciphersuites: texts().prefault([]).describe("Cipher suites by IANA or OpenSSL name; empty for the built-in list. Those of TLS 1.3 cannot be left out."),
  letsencrypt: LETSENCRYPT.prefault({}),
});

/** The longest headers that the program can read: set when it is built. */
export const MAX_HEADER_BYTES = 128 * 1024;

/** `http.limits.connections`, unless it is configured. */
export const DEFAULT_CONNECTIONS = 10_000;

const LIMITS = z.object({
  idletimeout: duration({ min: 1_000, max: 255_000 }).prefault("120s").describe("How long a connection may be idle between requests; at most 255s."),
  stalltimeout: duration({ min: 1_000 }).prefault("10m").describe("How long a request's body may be silent, and (on Linux) an answer not be taken. Slow ones are not cut."),
  connections: integer({ min: 0 })
    .prefault(DEFAULT_CONNECTIONS)
    .describe("Most connections of clients at once, and no more than half of the files that the process may open; further clients wait. 0: no limit."),
  requests: integer({ min: 0 }).prefault(0).describe("Most requests served at once; more are answered 503. 0: no limit."),
  uploads: integer({ min: 0 }).prefault(0).describe("Most request bodies written to the store at once; more are answered 429. 0: no limit."),
  manifestbytes: byteSize({ min: 1024, max: MAX_MANIFEST_BYTES }).prefault("4MiB").describe("Largest manifest that is accepted."),
  headerbytes: byteSize({ min: 4096, max: MAX_HEADER_BYTES }).prefault("128KiB").describe("Most bytes of a request's line and headers, at most 128KiB; more are answered 431."),
});

/** `http`: the API's listener. */
export const HTTP_OPTIONS = z.object({
  addr: text().prefault("").describe("host:port, :port, [ipv6]:port, or with net unix the path of a socket; empty for a free port."),
  net: text().prefault("tcp").refine((value) => ["tcp", "unix", ""].includes(value), "unknown address type, expected tcp or unix").describe("tcp or unix."),
  socketmode: text().prefault("0660").refine((value) => /^0?[0-7]{3}$/.test(value), "expected an octal mode like 0660 (quoted)").describe("Permissions of a unix socket, octal."),
  reuseport: flag().prefault(false).describe("Share the port with other processes of the same user that say the same: the system spreads connections over them. Give them all one http.secret."),
  prefix: text().prefault("").describe("Path before /v2/, with a slash at both ends."),
  host: text().optional().describe("URL that clients reach this registry at, when it is another than they ask for."),
  secret: secret().optional().describe("Signs upload URLs; the same on every instance. Random when absent."),
  relativeurls: flag().prefault(false).describe("Hand out paths instead of URLs."),
  draintimeout: duration({ min: 0 }).prefault("0s").describe("How long requests under way get at shutdown."),
  headers: headers().prefault({}).describe("Headers added to every answer of the API."),
  http2: z.object({ disabled: flag().prefault(false).describe("Do not offer HTTP/2 under TLS.") }).prefault({}),
  h2c: z.object({ enabled: flag().prefault(false).describe("HTTP/2 without TLS, by prior knowledge.") }).prefault({}),
  tls: TLS.prefault({}),
  trustedproxies: z
    .array(text().refine(isAddressRange, "expected an address or a range like 10.0.0.0/8"), "expected a list of addresses")
    .prefault(["127.0.0.0/8", "::1/128"])
    .describe("Proxies whose X-Forwarded-For and X-Real-Ip say whose failed logins are counted: addresses and ranges. What others say of themselves is not believed there."),
  limits: LIMITS.prefault({}),
  debug: z
    .object({
      addr: text().prefault("").describe("Where health, metrics and variables are served, without authentication; empty for nowhere."),
      prometheus: z.object({ enabled: flag().prefault(false).describe("Serve metrics."), path: text().prefault("/metrics").describe("Where.") }).prefault({}),
    })
    .prefault({}),
});

/** `http`, parsed. */
export type HttpOptions = z.output<typeof HTTP_OPTIONS>;
