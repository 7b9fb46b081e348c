import { readFile } from "node:fs/promises";
import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../telemetry/log.ts";
import { type CredentialSource, helperCredentials } from "./credentials.ts";
import { compileGlob } from "./globs.ts";
import type { ProxyOptions, RemoteOptions } from "./options.ts";
import type { Remote } from "./routes.ts";
import { Upstream, type UpstreamMetrics, type UpstreamTls } from "./upstream.ts";

interface RemoteParts {
  readonly maxManifestBytes: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: UpstreamMetrics;
}

/** The upstreams that the options name: the one for everything, and those for prefixes. @throws Error when a file cannot be read */
export async function openRemotes(options: ProxyOptions, parts: RemoteParts): Promise<readonly Remote[]> {
  const remotes = options.remotes.map((remote) => openRemote(remote, remote.prefix, parts));
  if (options.remoteurl !== "") remotes.push(openRemote(options, undefined, parts));
  return await Promise.all(remotes);
}

async function openRemote(options: RemoteOptions, prefix: string | undefined, parts: RemoteParts): Promise<Remote> {
  const url = new URL(options.remoteurl);
  const credentials = credentialsOf(options, url, parts);
  url.username = "";
  url.password = "";
  const upstream = new Upstream({
    url,
    credentials,
    trustedRealms: options.trustedrealms,
    tls: await readTls(options.tls),
    maxManifestBytes: parts.maxManifestBytes,
    clock: parts.clock,
    metrics: parts.metrics,
  });
  return {
    prefix,
    upstream,
    namespaces: options.namespaces,
    allow: options.allow.map(compileGlob),
    deny: options.deny.map(compileGlob),
    ttlMs: Math.max(0, options.ttl),
    tagTtlMs: options.tagttl,
  };
}

function credentialsOf(options: RemoteOptions, url: URL, parts: RemoteParts): CredentialSource {
  if (options.exec.command !== undefined && options.exec.command !== "") {
    return helperCredentials({ command: options.exec.command, lifetimeMs: options.exec.lifetime, host: url.host, clock: parts.clock, log: parts.log });
  }
  const username = options.username || decodeURIComponent(url.username);
  const password = options.password || decodeURIComponent(url.password);
  const known = username === "" && password === "" ? undefined : { username, password };
  return () => Promise.resolve(known);
}

async function readTls(options: RemoteOptions["tls"]): Promise<UpstreamTls | undefined> {
  const { rootcas, certificate, key } = options;
  if (rootcas.length === 0 && certificate === undefined && key === undefined) return undefined;
  return {
    ca: rootcas.length === 0 ? undefined : await Promise.all(rootcas.map((file) => readFile(file, "utf8"))),
    certificate: certificate === undefined ? undefined : await readFile(certificate, "utf8"),
    key: key === undefined ? undefined : await readFile(key, "utf8"),
  };
}
