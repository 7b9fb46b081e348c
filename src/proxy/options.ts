import { z } from "zod";
import { byteSize, duration, secret, text, texts } from "../lib/fields.ts";
import { isName } from "../oci/name.ts";

const isUpstreamUrl = (value: string): boolean => URL.canParse(value) && /^https?:$/.test(new URL(value).protocol);

const EXEC = z.object({
  command: text().optional().describe("A credential helper: called with `get`, the upstream's host on stdin; prints JSON with Username and Secret. Goes before username and password."),
  lifetime: duration({ min: 0 }).optional().describe("How long its answer is good for; 0: for one use, absent: for ever."),
});

const TLS = z.object({
  rootcas: texts().prefault([]).describe("PEM files of the authorities that the upstream's certificate may come from, instead of the usual ones."),
  certificate: text().optional().describe("PEM file of a client certificate."),
  key: text().optional().describe("PEM file of its private key."),
});

/** What can be said of every upstream. */
const UPSTREAM = {
  username: text().prefault("").describe("User at the upstream."),
  password: secret().prefault("").describe("Its password or token."),
  exec: EXEC.prefault({}),
  ttl: duration().prefault("168h").transform((ms) => Math.max(0, ms)).describe("How long what nobody asks for is kept, from its last use; 0: for ever."),
  tagttl: duration({ min: 0 }).prefault("0s").describe("How long a tag is believed before the upstream is asked again."),
  tls: TLS.prefault({}),
  namespaces: texts().prefault([]).describe("Values of `?ns=` that mean this upstream, beside its host and its prefix."),
  allow: texts().prefault([]).describe("Globs of the upstream's repositories that are mirrored; empty for all."),
  deny: texts().prefault([]).describe("Globs of the upstream's repositories that are not mirrored."),
  trustedrealms: texts().prefault([]).describe("Hosts that may issue tokens for this upstream although they are of another domain."),
};

const REMOTE = z.object({
  prefix: text()
    .refine(isName, "expected a repository name, like ghcr.io")
    .describe("Repositories below this name are mirrored: with prefix ghcr.io, ghcr.io/org/app here is org/app there."),
  remoteurl: text().refine(isUpstreamUrl, "expected a URL that begins with http:// or https://").describe("The upstream registry."),
  ...UPSTREAM,
});

/** `proxy`: the pull-through cache. */
export const PROXY_OPTIONS = z
  .object({
    remoteurl: text()
      .prefault("")
      .refine((value) => value === "" || isUpstreamUrl(value), "expected a URL that begins with http:// or https://")
      .describe("The upstream registry of every repository that no other rule takes; turns the pull-through cache on."),
    ...UPSTREAM,
    remotes: z.array(REMOTE).prefault([]).describe("Further upstreams, each with a prefix of repository names; turn the pull-through cache on."),
    local: texts().prefault([]).describe("Globs of repositories that are ours: pushed to, and never asked for upstream. A remote's prefix goes before."),
    maxsize: byteSize({ min: 0 }).prefault(0).describe("Beyond so much the least recently used goes; 0: no limit."),
    missingttl: duration({ min: 0 }).prefault("5s").describe("How long it is believed that an upstream does not have something."),
    staletimeout: duration({ min: 1 }).prefault("3s").describe("How long an upstream is waited for when the cache has an older answer."),
    cachewritetimeout: duration({ min: 0 }).prefault("5m").describe("How long a transfer from upstream goes on after its last client has gone."),
    spooldirectory: text().optional().describe("Folder of this host that holds a blob while it is fetched into a store that is not local; absent: the system's folder for temporary files."),
  })
  .superRefine(({ remotes }, context) => {
    for (const [index, { prefix }] of remotes.entries()) {
      if (remotes.findIndex((other) => other.prefix === prefix) === index) continue;
      context.addIssue({ code: "custom", path: ["remotes", index, "prefix"], message: `another remote has the prefix ${prefix}, expected each once` });
    }
  });

/** What can be said of every upstream, parsed. */
export type RemoteOptions = Omit<z.output<typeof REMOTE>, "prefix">;

/** `proxy`, parsed. */
export type ProxyOptions = z.output<typeof PROXY_OPTIONS>;

/** Whether anything is mirrored. */
export function isProxyEnabled(options: ProxyOptions): boolean {
  return options.remoteurl !== "" || options.remotes.length > 0;
}
