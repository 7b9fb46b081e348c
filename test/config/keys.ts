/** A test that sees what keys do. */
export interface KeyTest {
  readonly file: string;
  /** The title as it stands in the file. */
  readonly test: string;
  readonly keys: readonly string[];
}

/**
 * Every key of the configuration, beside the test that sees its effect: over a process that serves, or, where the effect lies in what
 * a driver asks of its store, over the driver. Keys that say of themselves that they have none are left out.
 */
export const KEY_TESTS: readonly KeyTest[] = [
  { file: "test/config/load.test.ts", test: "another version", keys: ["version"] },

  { file: "test/telemetry/log.test.ts", test: "log.level: what is less important is left out, but the address that is listened on", keys: ["log.level"] },
  { file: "test/telemetry/log.test.ts", test: "loglevel: the old name counts where the new one says nothing", keys: ["loglevel"] },
  { file: "test/telemetry/log.test.ts", test: "log.formatter: json and logstash, a line an object", keys: ["log.formatter"] },
  { file: "test/telemetry/log.test.ts", test: "log.fields and log.reportcaller: on every line", keys: ["log.fields", "log.reportcaller"] },
  { file: "test/telemetry/log.test.ts", test: "log.accesslog.formatter: Combined Log Format, or JSON with request id, user and repository", keys: ["log.accesslog.formatter"] },
  { file: "test/telemetry/log.test.ts", test: "log.accesslog.disabled: no access log", keys: ["log.accesslog.disabled"] },
  { file: "test/telemetry/mail.test.ts", test: "log.hooks: mails go from and to the configured addresses, with the line and its fields", keys: ["log.hooks[].options.smtp.addr", "log.hooks[].options.from", "log.hooks[].options.to"] },
  { file: "test/telemetry/mail.test.ts", test: "log.hooks[].levels: only lines of these levels are mailed", keys: ["log.hooks[].levels"] },
  { file: "test/telemetry/mail.test.ts", test: "log.hooks[].disabled and other types: nothing is sent", keys: ["log.hooks[].type", "log.hooks[].disabled"] },
  { file: "test/telemetry/mail.test.ts", test: "log.hooks[].options.smtp.username and password: a login is made, and never logged", keys: ["log.hooks[].options.smtp.username", "log.hooks[].options.smtp.password"] },
  { file: "test/telemetry/mail.test.ts", test: "log.hooks[].options.smtp.insecure: a certificate that nobody vouches for is taken, with STARTTLS and TLS", keys: ["log.hooks[].options.smtp.insecure"] },

  { file: "test/config/storage.test.ts", test: "storage.filesystem.rootdirectory: everything is below it", keys: ["storage.filesystem.rootdirectory"] },
  { file: "test/config/storage.test.ts", test: "storage.filesystem.maxthreads: so many calls wait for the disk at once, but never less than 25", keys: ["storage.filesystem.maxthreads"] },
  { file: "test/config/storage.test.ts", test: "storage.inmemory: nothing is written, and nothing is left", keys: ["storage.inmemory"] },
  { file: "test/cloud/registry-on-store.ts", test: "blobs are streamed, whole and in ranges, where redirects are off", keys: ["storage.redirect.disable"] },
  ...s3Tests(),
  ...gcsTests(),
  ...ossTests(),
  ...azureTests(),
  ...redisTests(),
  { file: "test/middleware/middleware.test.ts", test: "redirect, then rewrite: clients of a store on files are sent elsewhere, unless that is disabled", keys: ["name", "disabled", "options"].map((key) => `middleware.storage[].${key}`) },
  { file: "test/config/storage.test.ts", test: "storage.delete.enabled: blobs, manifests and tags can be deleted, and else not", keys: ["storage.delete.enabled"] },
  {
    file: "test/config/storage.test.ts",
    test: "storage.cache.blobdescriptor, layerinfo and blobdescriptorsize: sizes are remembered where the store is not local",
    keys: ["storage.cache.blobdescriptor", "storage.cache.layerinfo", "storage.cache.blobdescriptorsize"],
  },
  { file: "test/config/storage.test.ts", test: "storage.tag.concurrencylimit: so many tags are looked up at once when a manifest is deleted", keys: ["storage.tag.concurrencylimit"] },
  {
    file: "test/config/storage.test.ts",
    test: "storage.maintenance.uploadpurging.enabled, age, interval and dryrun: old uploads go, and only they",
    keys: ["enabled", "age", "interval", "dryrun"].map((key) => `storage.maintenance.uploadpurging.${key}`),
  },
  { file: "test/config/storage.test.ts", test: "storage.maintenance.readonly.enabled: what is there is served, and nothing is written", keys: ["storage.maintenance.readonly.enabled"] },
  {
    file: "test/config/storage.test.ts",
    test: "storage.maintenance.garbagecollect.enabled, interval and dryrun: garbage goes while serving",
    keys: ["enabled", "interval", "dryrun"].map((key) => `storage.maintenance.garbagecollect.${key}`),
  },
  { file: "test/config/storage.test.ts", test: "storage.maintenance.garbagecollect.cron and window: when runs begin", keys: ["storage.maintenance.garbagecollect.cron", "storage.maintenance.garbagecollect.window"] },
  {
    file: "test/config/storage.test.ts",
    test: "storage.maintenance.garbagecollect.grace and deleteuntagged: what is young stays, what no tag needs goes when asked",
    keys: ["storage.maintenance.garbagecollect.grace", "storage.maintenance.garbagecollect.deleteuntagged"],
  },
  {
    file: "test/config/storage.test.ts",
    test: "storage.maintenance.retention.enabled, dryrun and rules: tags that nothing speaks for go before each collection",
    keys: ["enabled", "dryrun", "rules[].repositories", "rules[].tags", "rules[].keep.last", "rules[].keep.youngerthan", "rules[].keep.pulledwithin", "rules[].keep.always", "rules[].untaggedafter"].map((key) => `storage.maintenance.retention.${key}`),
  },

  { file: "test/config/auth.test.ts", test: "auth.none: everybody may do everything", keys: ["auth.none"] },
  { file: "test/config/auth.test.ts", test: "auth.silly.realm and auth.silly.service: any Authorization header is good", keys: ["auth.silly.realm", "auth.silly.service"] },
  { file: "test/config/auth.test.ts", test: "auth.htpasswd.realm and auth.htpasswd.path: who is in the file may do everything", keys: ["auth.htpasswd.realm", "auth.htpasswd.path"] },
  {
    file: "test/config/auth.test.ts",
    test: "auth.htpasswd.rules and auth.htpasswd.groups: repositories, users, groups, anonymous, actions and always",
    keys: ["rules[].repositories", "rules[].users", "rules[].groups", "rules[].anonymous", "rules[].actions", "rules[].always", "groups"].map((key) => `auth.htpasswd.${key}`),
  },
  { file: "test/config/auth.test.ts", test: "auth.htpasswd.groupsfile: groups from a file", keys: ["auth.htpasswd.groupsfile"] },
  { file: "test/config/auth.test.ts", test: "auth.htpasswd.throttle: failures, maxdelay and enabled", keys: ["enabled", "failures", "maxdelay"].map((key) => `auth.htpasswd.throttle.${key}`) },
  { file: "test/config/auth.test.ts", test: "auth.htpasswd.tokenttl: how long our own tokens are good", keys: ["auth.htpasswd.tokenttl"] },
  { file: "test/config/auth.test.ts", test: "auth.token.realm, auth.token.service and auth.token.issuer: in challenges, and in tokens", keys: ["auth.token.realm", "auth.token.service", "auth.token.issuer"] },
  { file: "test/config/auth.test.ts", test: "auth.token.rootcertbundle and auth.token.jwks: whose signatures are believed", keys: ["auth.token.rootcertbundle", "auth.token.jwks"] },
  { file: "test/config/auth.test.ts", test: "auth.token.jwksurl and auth.token.jwksrefresh: keys are fetched, and fetched again", keys: ["auth.token.jwksurl", "auth.token.jwksrefresh"] },
  { file: "test/config/auth.test.ts", test: "auth.token.signingalgorithms: others are refused", keys: ["auth.token.signingalgorithms"] },
  { file: "test/config/auth.test.ts", test: "auth.token.autoredirect and auth.token.autoredirectpath: the realm is on the host that was asked", keys: ["auth.token.autoredirect", "auth.token.autoredirectpath"] },
  { file: "test/auth/client-certificates.test.ts", test: "are not named where auth.certificate is off", keys: ["auth.certificate.enabled"] },
  { file: "test/auth/client-certificates.test.ts", test: "are named by the first alternative name that is one of a user, with auth.certificate.user: san", keys: ["auth.certificate.user"] },

  { file: "test/config/http.test.ts", test: "http.addr: a port of one's own, on loopback alone", keys: ["http.addr"] },
  { file: "test/config/http.test.ts", test: "http.reuseport: two processes share a port and a store, and one goes on when the other ends", keys: ["http.reuseport"] },
  { file: "test/config/http.test.ts", test: "http.net and http.socketmode: a socket with these permissions, which goes away", keys: ["http.net", "http.socketmode"] },
  { file: "test/config/http.test.ts", test: "http.prefix: everything is below it, and only there", keys: ["http.prefix"] },
  { file: "test/config/http.test.ts", test: "http.host: locations begin with it", keys: ["http.host"] },
  { file: "test/config/http.test.ts", test: "http.secret: an upload goes on at another instance with the same, and not with another", keys: ["http.secret"] },
  { file: "test/config/http.test.ts", test: "http.relativeurls: locations are paths", keys: ["http.relativeurls"] },
  { file: "test/config/http.test.ts", test: "http.headers: on every answer of the API, errors too", keys: ["http.headers"] },
  { file: "test/config/http.test.ts", test: "http.h2c.enabled: HTTP/2 without TLS, beside HTTP/1.1", keys: ["http.h2c.enabled"] },
  { file: "test/config/stopping.test.ts", test: "http.draintimeout: a transfer under way is finished, new connections are refused, status 0", keys: ["http.draintimeout"] },
  { file: "test/config/tls.test.ts", test: "http.tls.certificate and http.tls.key: TLS, with HTTP/2 by ALPN unless http.http2.disabled", keys: ["http.tls.certificate", "http.tls.key", "http.http2.disabled"] },
  { file: "test/config/tls.test.ts", test: "http.tls.clientcas and http.tls.clientauth: who may come in", keys: ["http.tls.clientcas", "http.tls.clientauth"] },
  { file: "test/config/tls.test.ts", test: "http.tls.minimumtls: older versions are refused", keys: ["http.tls.minimumtls"] },
  { file: "test/config/tls.test.ts", test: "http.tls.ciphersuites: only these, by either family of names; those of TLS 1.3 stay", keys: ["http.tls.ciphersuites"] },
  {
    file: "test/config/acme.test.ts",
    test: "http.tls.letsencrypt.hosts, directoryurl, httpaddr, rootcas and cachedir: a certificate is ordered, served and kept",
    keys: ["hosts", "directoryurl", "httpaddr", "rootcas", "cachedir"].map((key) => `http.tls.letsencrypt.${key}`),
  },
  { file: "test/config/acme.test.ts", test: "http.tls.letsencrypt.cachefile: the older name", keys: ["http.tls.letsencrypt.cachefile"] },
  { file: "test/config/acme.test.ts", test: "http.tls.letsencrypt.email: what the authority does not take is said", keys: ["http.tls.letsencrypt.email"] },
  { file: "test/config/acme.test.ts", test: "http.tls.letsencrypt.challenge: by default it is answered on the API's own port", keys: ["http.tls.letsencrypt.challenge"] },
  { file: "test/config/acme.test.ts", test: "http.tls.letsencrypt.renewbefore: how long before its end a certificate is renewed", keys: ["http.tls.letsencrypt.renewbefore"] },
  { file: "test/config/http.test.ts", test: "http.limits.idletimeout: a silent connection is closed", keys: ["http.limits.idletimeout"] },
  { file: "test/config/http.test.ts", test: "http.limits.stalltimeout: a body that is silent ends, and what came of it is kept", keys: ["http.limits.stalltimeout"] },
  { file: "test/config/http.test.ts", test: "http.limits.manifestbytes: one byte more is 413", keys: ["http.limits.manifestbytes"] },
  { file: "test/config/http.test.ts", test: "http.limits.headerbytes: longer headers are 431", keys: ["http.limits.headerbytes"] },
  {
    file: "test/auth/htpasswd.test.ts",
    test: "http.trustedproxies: failures are counted by the address that a trusted proxy names, and by that of everybody else's socket",
    keys: ["http.trustedproxies"],
  },
  { file: "test/e2e/connections.test.ts", test: "http.limits.connections: at the limit more clients wait, others go on, and places become free again", keys: ["http.limits.connections"] },
  { file: "test/e2e/limits.test.ts", test: "http.limits.requests: more at once are told to come again", keys: ["http.limits.requests"] },
  { file: "test/e2e/limits.test.ts", test: "http.limits.uploads: more bodies at once are told to come again", keys: ["http.limits.uploads"] },
  { file: "test/telemetry/metrics.test.ts", test: "http.debug.addr: a listener of its own, without which nothing of it is to be had", keys: ["http.debug.addr"] },
  { file: "test/telemetry/metrics.test.ts", test: "http.debug.prometheus.enabled and path: metrics, where they are told to be", keys: ["http.debug.prometheus.enabled", "http.debug.prometheus.path"] },

  { file: "test/config/notifications.test.ts", test: "notifications.events.includereferences: pushed manifests list what they refer to", keys: ["notifications.events.includereferences"] },
  { file: "test/config/notifications.test.ts", test: "notifications.endpoints[].name, url and disabled: who is told", keys: ["name", "url", "disabled"].map((key) => `notifications.endpoints[].${key}`) },
  { file: "test/config/notifications.test.ts", test: "notifications.endpoints[].headers and secret: on every request", keys: ["notifications.endpoints[].headers", "notifications.endpoints[].secret"] },
  {
    file: "test/config/notifications.test.ts",
    test: "notifications.endpoints[].ignore and ignoredmediatypes: what is not told",
    keys: ["ignore.mediatypes", "ignore.actions", "ignoredmediatypes"].map((key) => `notifications.endpoints[].${key}`),
  },
  { file: "test/config/notifications.test.ts", test: "notifications.endpoints[].format: CloudEvents", keys: ["notifications.endpoints[].format"] },
  { file: "test/config/notifications.test.ts", test: "notifications.endpoints[].timeout, threshold and backoff: how it goes on when nobody answers well", keys: ["timeout", "threshold", "backoff"].map((key) => `notifications.endpoints[].${key}`) },
  { file: "test/config/notifications.test.ts", test: "notifications.endpoints[].queuesize: beyond it the oldest are lost, and counted", keys: ["notifications.endpoints[].queuesize"] },
  { file: "test/config/notifications.test.ts", test: "notifications.directory and notifications.endpoints[].persist: events wait there", keys: ["notifications.directory", "notifications.endpoints[].persist"] },
  { file: "test/config/notifications.test.ts", test: "notifications.endpoints[].maxsize: beyond it the oldest are lost", keys: ["notifications.endpoints[].maxsize"] },

  { file: "test/health/health.test.ts", test: "health.file[].file and interval: unhealthy while it exists, everywhere but at /livez", keys: ["health.file[].file", "health.file[].interval"] },
  {
    file: "test/health/health.test.ts",
    test: "health.storagedriver.enabled, interval and threshold: an empty store is healthy, one that does not answer is not",
    keys: ["enabled", "interval", "threshold"].map((key) => `health.storagedriver.${key}`),
  },
  { file: "test/health/health.test.ts", test: "health.http[].uri, headers and statuscode: a HEAD with these headers that must be answered so", keys: ["uri", "headers", "statuscode"].map((key) => `health.http[].${key}`) },
  { file: "test/health/health.test.ts", test: "health.http[].threshold: so many failures in a row", keys: ["health.http[].threshold"] },
  { file: "test/health/health.test.ts", test: "health.http[].timeout: a service that is silent has failed", keys: ["health.http[].timeout"] },
  { file: "test/health/health.test.ts", test: "health.http[].interval: the time between checks", keys: ["health.http[].interval"] },
  { file: "test/health/health.test.ts", test: "health.tcp[].addr, interval and threshold: a port that must be open", keys: ["addr", "interval", "threshold"].map((key) => `health.tcp[].${key}`) },
  { file: "test/health/health.test.ts", test: "health.tcp[].timeout: an address that never answers has failed", keys: ["health.tcp[].timeout"] },

  { file: "test/config/load.test.ts", test: "a registry middleware", keys: ["middleware.registry[].name"] },
  { file: "test/config/load.test.ts", test: "a repository middleware", keys: ["middleware.repository[].name"] },
  { file: "test/config/load.test.ts", test: "middlewares that there are none of may be there when they are disabled", keys: ["middleware.registry[].disabled", "middleware.repository[].disabled"] },

  { file: "test/config/storage.test.ts", test: "catalog.maxentries and tags.maxtags: the longest page", keys: ["catalog.maxentries", "tags.maxtags"] },

  ...upstreamTests("proxy"),
  ...upstreamTests("proxy.remotes[]"),
  { file: "test/config/proxy.test.ts", test: "remoteurl and prefix: what is not here is fetched from there", keys: ["proxy.remotes[].prefix"] },
  { file: "test/config/proxy.test.ts", test: "proxy.namespaces and proxy.remotes[].namespaces: which ?ns= means which upstream", keys: ["proxy.namespaces", "proxy.remotes[].namespaces"] },
  { file: "test/config/proxy.test.ts", test: "proxy.local: repositories that are ours are pushed to, and never asked for upstream", keys: ["proxy.local"] },
  { file: "test/config/proxy.test.ts", test: "proxy.maxsize: beyond it the least recently used goes", keys: ["proxy.maxsize"] },
  { file: "test/config/proxy.test.ts", test: "proxy.missingttl: how long it is believed that something is not there", keys: ["proxy.missingttl"] },
  { file: "test/config/proxy.test.ts", test: "proxy.staletimeout: a slow upstream is not waited for when there is an older answer", keys: ["proxy.staletimeout"] },
  { file: "test/config/proxy.test.ts", test: "proxy.cachewritetimeout: how long a transfer goes on without its client", keys: ["proxy.cachewritetimeout"] },
  { file: "test/config/proxy.test.ts", test: "proxy.spooldirectory: where a blob is on its way into a store that is not local", keys: ["proxy.spooldirectory"] },

  { file: "test/config/validation.test.ts", test: "validation.disabled and enabled: nothing is looked for, unless enabled says so too", keys: ["validation.enabled", "validation.disabled"] },
  { file: "test/config/validation.test.ts", test: "validation.manifests.urls.allow and deny: which URLs layers may carry", keys: ["validation.manifests.urls.allow", "validation.manifests.urls.deny"] },
  {
    file: "test/config/validation.test.ts",
    test: "validation.manifests.indexes.platforms and platformlist: which children must be there",
    keys: ["platforms", "platformlist[].architecture", "platformlist[].os"].map((key) => `validation.manifests.indexes.${key}`),
  },
  { file: "test/config/validation.test.ts", test: "validation.manifests.images.sparse: layers of an image may be missing, its config may not", keys: ["validation.manifests.images.sparse"] },
  { file: "test/config/validation.test.ts", test: "policy.repository.classes: manifests of other classes are refused", keys: ["policy.repository.classes"] },
];

/** What can be said of the one upstream of everything can be said of every other one. */
function upstreamTests(section: string): readonly KeyTest[] {
  const file = "test/config/proxy.test.ts";
  const rows: readonly (readonly [string, readonly string[]])[] = [
    ["remoteurl and prefix: what is not here is fetched from there", ["remoteurl"]],
    ["username and password: for an upstream that asks for them", ["username", "password"]],
    ["exec.command and exec.lifetime: credentials of a helper, for as long as it is told", ["exec.command", "exec.lifetime"]],
    ["ttl: what nobody asks for goes", ["ttl"]],
    ["tagttl: how long a tag is believed", ["tagttl"]],
    ["tls.rootcas, tls.certificate and tls.key: an upstream of a private authority that wants to know its clients", ["tls.rootcas", "tls.certificate", "tls.key"]],
    ["allow and deny: which repositories are mirrored", ["allow", "deny"]],
    ["trustedrealms: a token server of another domain is given the password only when it is named", ["trustedrealms"]],
  ];
  return rows.map(([test, keys]) => ({ file, test, keys: keys.map((key) => `${section}.${key}`) }));
}

function s3Tests(): readonly KeyTest[] {
  const rows: readonly (readonly [string, readonly string[]])[] = [
    ["storage.s3.accesskey, region and sessiontoken: in every signature", ["accesskey", "region", "sessiontoken"]],
    ["storage.s3.secretkey: what signatures are made with, and nothing else", ["secretkey"]],
    ["storage.s3.regionendpoint, bucket, rootdirectory and forcepathstyle: where objects are", ["regionendpoint", "bucket", "rootdirectory", "forcepathstyle"]],
    ["storage.s3.usedualstack, accelerate and usefipsendpoint: Amazon's other hosts", ["usedualstack", "accelerate", "usefipsendpoint"]],
    ["storage.s3.secure and skipverify: TLS, and whose certificate is taken", ["secure", "skipverify"]],
    ["storage.s3.useragent: what requests carry, else the program's name", ["useragent"]],
    ["storage.s3.encrypt, keyid, storageclass and objectacl: asked for with every object", ["encrypt", "keyid", "storageclass", "objectacl"]],
    ["storage.s3.chunksize: the size of parts", ["chunksize"]],
    ["storage.s3.multipartcopythresholdsize, multipartcopychunksize and multipartcopymaxconcurrency: how large objects are copied", ["multipartcopythresholdsize", "multipartcopychunksize", "multipartcopymaxconcurrency"]],
    ["storage.s3.maxretries: how often it is asked again", ["maxretries"]],
    ["storage.s3.timeout: how long it may be silent", ["timeout"]],
    ["storage.s3.loglevel: requests are in the log, without credentials", ["loglevel"]],
  ];
  const file = "test/config/s3.test.ts";
  return [
    ...rows.map(([test, keys]) => ({ file, test, keys: keys.map((key) => `storage.s3.${key}`) })),
    { file, test: "storage.s3.redirectendpoint and storage.redirect.expiry: where they lead, and for how long", keys: ["storage.s3.redirectendpoint", "storage.redirect.expiry"] },
    { file: "test/config/load.test.ts", test: "s3 with signatures of old", keys: ["storage.s3.v4auth"] },
  ];
}

function gcsTests(): readonly KeyTest[] {
  const file = "test/contract/gcs-driver.test.ts";
  return [
    { file: "test/cloud/gcs.test.ts", test: "takes its credentials from a key file, or from the application's default", keys: ["storage.gcs.bucket", "storage.gcs.endpoint", "storage.gcs.keyfile"] },
    { file, test: "of somebody else are refused, which is no missing file", keys: ["storage.gcs.credentials"] },
    { file, test: "rootdirectory begins every name", keys: ["storage.gcs.rootdirectory"] },
    { file, test: "has its bytes sent in chunks of the configured size, as many at a time as the store takes", keys: ["storage.gcs.chunksize"] },
    { file, test: "maxconcurrency bounds requests at once", keys: ["storage.gcs.maxconcurrency"] },
    { file, test: "useragent is what requests carry, else the program's name", keys: ["storage.gcs.useragent"] },
  ];
}

function ossTests(): readonly KeyTest[] {
  return [
    { file: "test/cloud/oss.test.ts", test: "does not start with a wrong secret, a wrong key or without the bucket, and says which", keys: ["storage.oss.accesskeyid", "storage.oss.accesskeysecret", "storage.oss.bucket"] },
    { file: "test/cloud/oss.test.ts", test: "asks for encryption where it is told to, of blobs, moved blobs and links", keys: ["storage.oss.encrypt", "storage.oss.encryptionkeyid", "storage.oss.rootdirectory"] },
    { file: "test/cloud/oss-distribution.test.ts", test: "takes the internal network with %s", keys: ["storage.oss.internal"] },
    { file: "src/storage/oss/connection.test.ts", test: "a region without its prefix", keys: ["storage.oss.region"] },
    { file: "src/storage/oss/connection.test.ts", test: "a domain bound to the bucket", keys: ["storage.oss.endpoint"] },
    { file: "src/storage/oss/connection.test.ts", test: "secure", keys: ["storage.oss.secure"] },
    { file: "test/contract/oss-faults.test.ts", test: "leaves no part of a file, and a writer that can be gone on with where parts end", keys: ["storage.oss.chunksize"] },
  ];
}

function azureTests(): readonly KeyTest[] {
  const rows: readonly (readonly [string, readonly string[]])[] = [
    ["storage.azure.accountname, container, realm and rootdirectory: where blobs are", ["accountname", "container", "realm", "rootdirectory"]],
    ["storage.azure.legacyrootprefix: whether names begin with a slash", ["legacyrootprefix"]],
    ["storage.azure.serviceurl: a service under another name", ["serviceurl"]],
    ["storage.azure.accountkey and credentials.type: requests and URLs are signed with it", ["accountkey", "credentials.type"]],
    ["storage.azure.useragent: what requests carry, else the program's name", ["useragent"]],
    ["storage.azure.skipverify: whose certificate is taken", ["skipverify"]],
    ["storage.azure.max_retries and retry_delay: how often, and how long apart, they are looked at", ["max_retries", "retry_delay"]],
  ];
  return [
    ...rows.map(([test, keys]) => ({ file: "test/config/azure.test.ts", test, keys: keys.map((key) => `storage.azure.${key}`) })),
    { file: "test/cloud/azure.test.ts", test: "takes tokens of a directory for a secret, and signs URLs with a key that the store gives for them", keys: ["clientid", "tenantid", "secret"].map((key) => `storage.azure.credentials.${key}`) },
  ];
}

function redisTests(): readonly KeyTest[] {
  const rows: readonly (readonly [string, readonly string[]])[] = [
    ["keeps sizes under distribution's keys, and forgets them", ["addrs", "clientname"]],
    ["believes nothing that cannot be a size", ["addr"]],
    ["logs in with a password, and a user, to a database of its own", ["username", "password", "db"]],
    ["speaks TLS with a private authority, and shows a certificate", ["tls.certificate", "tls.key", "tls.rootcas", "tls.clientcas"]],
    ["finds the master by sentinels", ["mastername"]],
    ["does not wait for a server that hangs, but once", ["readtimeout", "writetimeout"]],
  ];
  const optionRows: typeof rows = [
    ["redis.protocol: 3, or 2 where that is wanted", ["protocol"]],
    ["redis.sentinelusername and sentinelpassword: sentinels that want a login", ["sentinelusername", "sentinelpassword"]],
    ["redis.maxretries: so many connections are tried until a request whose connection broke is given up", ["maxretries"]],
    ["redis.minretrybackoff and maxretrybackoff: a server that is away is looked for after doubled pauses, up to the longest", ["minretrybackoff", "maxretrybackoff"]],
    ["redis.dialtimeout: a connection that is not made in time is tried anew", ["dialtimeout"]],
    ["redis.maxredirects: so often a request is sent on to where a cluster says", ["maxredirects"]],
    ["redis.readonly and routerandomly: reads go to replicas of a cluster, or to all of its nodes", ["readonly", "routerandomly"]],
    ["redis.disableidentity and identitysuffix: what the server is told of the client", ["disableidentity", "identitysuffix"]],
  ];
  const named = (file: string, [test, keys]: (typeof rows)[number]): KeyTest => ({ file, test, keys: keys.map((key) => `redis.${key}`) });
  return [...rows.map((row) => named("test/cache/redis.test.ts", row)), ...optionRows.map((row) => named("test/cache/redis-options.test.ts", row))];
}
