import { SIGNING_ALGORITHMS } from "../auth/token/options.ts";
import { parseMiddleware } from "../storage/middleware/options.ts";
import type { Config } from "./schema.ts";

/** Reports what is wrong with a key. */
export type Report = (key: string, message: string) => void;

/** Checks what one key alone does not tell: keys that need, exclude or name each other. */
export function checkConfig(config: Config, report: Report): void {
  checkTls(config.http.tls, report);
  checkHttp(config.http, report);
  checkToken(config, report);
  checkCertificateUsers(config, report);
  checkRegularExpressions(config, report);
  checkMiddleware(config, report);
  checkCache(config, report);
  checkHealth(config, report);
  checkHooks(config, report);
  checkEndpoints(config, report);
}

function checkTls(tls: Config["http"]["tls"], report: Report): void {
  const acme = tls.letsencrypt.cachefile !== undefined || tls.letsencrypt.cachedir !== undefined;
  if (acme && tls.certificate !== undefined) report("http.tls.letsencrypt", "cannot specify both certificate and Let's Encrypt");
  if (acme && tls.letsencrypt.hosts.length === 0) report("http.tls.letsencrypt.hosts", "expected at least one host name that certificates are ordered for");
  if (tls.certificate !== undefined && tls.key === undefined) report("http.tls.key", "is missing; a certificate needs its key");
  if (tls.key !== undefined && tls.certificate === undefined) report("http.tls.certificate", "is missing; a key needs its certificate");
  if (tls.clientcas.length > 0 && tls.certificate === undefined && !acme) report("http.tls.clientcas", "needs http.tls.certificate: without TLS no client shows a certificate");
}

function checkHttp(http: Config["http"], report: Report): void {
  if (http.prefix !== "" && !/^\/([A-Za-z0-9._~-]+\/)*$/.test(http.prefix)) report("http.prefix", `found ${JSON.stringify(http.prefix)}, expected a path with a slash at both ends, like /my/registry/`);
  if (http.host !== undefined && http.host !== "" && /^[a-z]+:\/\//i.test(http.host) && !URL.canParse(http.host)) report("http.host", `found ${JSON.stringify(http.host)}, expected a URL`);
  if (http.net === "unix" && http.addr === "") report("http.addr", "is missing; with http.net unix it is the path of the socket");
}

function checkToken(config: Config, report: Report): void {
  const token = config.auth.token;
  if (token === undefined) return;
  if (token.rootcertbundle === undefined && token.jwks === undefined && token.jwksurl === undefined) report("auth.token", "token auth requires at least one token signing key: set rootcertbundle, jwks or jwksurl");
  for (const [index, algorithm] of token.signingalgorithms.entries()) {
    if (!SIGNING_ALGORITHMS.some((known) => known === algorithm)) report(`auth.token.signingalgorithms[${index}]`, `unsupported signing algorithm: ${algorithm}, expected one of ${SIGNING_ALGORITHMS.join(", ")}`);
  }
}

function checkCertificateUsers(config: Config, report: Report): void {
  if (config.auth.certificate?.enabled === true && config.http.tls.clientcas.length === 0) report("auth.certificate.enabled", "needs http.tls.clientcas: no client is asked for a certificate without");
}

function checkRegularExpressions(config: Config, report: Report): void {
  for (const list of ["allow", "deny"] as const) {
    for (const [index, source] of config.validation.manifests.urls[list].entries()) {
      try {
        new RegExp(source);
      } catch {
        report(`validation.manifests.urls.${list}[${index}]`, `found ${JSON.stringify(source)}, expected a regular expression`);
      }
    }
  }
}

function checkMiddleware(config: Config, report: Report): void {
  for (const kind of ["registry", "repository"] as const) {
    for (const [index, entry] of config.middleware[kind].entries()) {
      if (!entry.disabled) report(`middleware.${kind}[${index}].name`, `no ${kind} middleware registered with name: ${entry.name}; there are none of that kind`);
    }
  }
  for (const [index, entry] of config.middleware.storage.entries()) {
    const parsed = entry.disabled ? [] : parseMiddleware(entry);
    if ("name" in parsed) continue;
    for (const { key, message } of parsed) report(`middleware.storage[${index}].${key}`, message);
  }
}

function checkCache(config: Config, report: Report): void {
  const kind = config.storage.cache.blobdescriptor ?? config.storage.cache.layerinfo;
  if (kind === "redis" && config.redis.addrs.length === 0) report("storage.cache.blobdescriptor", "redis configuration required to use for layerinfo cache: set redis.addrs");
  const { certificate, key } = config.redis.tls;
  if ((certificate === undefined) !== (key === undefined)) report("redis.tls", "needs both certificate and key, or neither");
}

function checkHealth(config: Config, report: Report): void {
  const names = new Set<string>();
  const check = (key: string, name: string): void => {
    if (names.has(name)) report(key, `a second check of ${name}; each must have its own`);
    names.add(name);
  };
  config.health.file.forEach((item, index) => check(`health.file[${index}].file`, item.file));
  config.health.http.forEach((item, index) => check(`health.http[${index}].uri`, item.uri));
  config.health.tcp.forEach((item, index) => check(`health.tcp[${index}].addr`, item.addr));
}

function checkHooks(config: Config, report: Report): void {
  for (const [index, hook] of config.log.hooks.entries()) {
    if (hook.type !== "mail" || hook.disabled) continue;
    if (!/^(smtps?:\/\/)?[^/@\s]+:\d{1,5}$/.test(hook.options.smtp.addr)) report(`log.hooks[${index}].options.smtp.addr`, `found ${JSON.stringify(hook.options.smtp.addr)}, expected host:port`);
    if (hook.options.to.length === 0) report(`log.hooks[${index}].options.to`, "expected at least one recipient");
  }
}

function checkEndpoints(config: Config, report: Report): void {
  for (const [index, endpoint] of config.notifications.endpoints.entries()) {
    if (!endpoint.disabled && !/^https?:\/\/./.test(endpoint.url)) report(`notifications.endpoints[${index}].url`, `found ${JSON.stringify(endpoint.url)}, expected a URL that begins with http:// or https://`);
  }
}
