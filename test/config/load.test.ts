import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { effectiveYaml } from "../../src/config/effective.ts";
import { ConfigError, type LoadedConfig, loadConfig } from "../../src/config/load.ts";
import { tempFolder } from "../support/temp-folder.ts";

type Environment = Readonly<Record<string, string>>;

async function load(text: string, env: Environment = {}, strict = false): Promise<LoadedConfig> {
  await using folder = await tempFolder();
  const path = join(folder.path, "c.yml");
  await Bun.write(path, text);
  return await loadConfig({ path, env, strict });
}

async function problemsOf(text: string, env: Environment = {}, strict = false): Promise<string> {
  try {
    await load(text, env, strict);
  } catch (error) {
    if (error instanceof ConfigError) return error.message.replaceAll(/\/[^ ]*\/c\.yml/g, "c.yml");
    throw error;
  }
  throw new Error("was accepted");
}

const BASE = "version: 0.1\nstorage: inmemory\n";

describe("what is refused, and how it is said", () => {
  const bad: [string, string, string][] = [
    ["nothing", "", 'unsupported version: ""'],
    ["a list", "- a\n", "found a configuration that is no list of keys"],
    ["no version", "storage: inmemory\n", 'version: unsupported version: "", expected 0.1'],
    ["another version", "version: 0.2\nstorage: inmemory\n", 'c.yml:1:1: version: unsupported version: "0.2", expected 0.1'],
    ["a version that is a word", "version: foo\nstorage: inmemory\n", 'unsupported version: "foo"'],
    ["no storage", "version: 0.1\n", "storage: no storage configuration provided, expected one of filesystem, inmemory"],
    ["only options of storage", "version: 0.1\nstorage: {delete: {enabled: true}}\n", "no storage configuration provided"],
    ["two drivers", "version: 0.1\nstorage:\n  inmemory:\n  filesystem:\n", "c.yml:2:1: storage: must provide exactly one storage type. Provided: [filesystem inmemory]"],
    ["an unknown driver", "version: 0.1\nstorage: {floppy: {}}\n", "c.yml:2:11: storage.floppy: StorageDriver not registered: floppy"],
    ["swift", "version: 0.1\nstorage: {swift: {}}\n", "use the S3 interface of Swift"],
    ["broken YAML", "version: 0.1\nstorage: {\n", "c.yml:3:1: not valid YAML"],
    ["a tab", "version: 0.1\n\tstorage: inmemory\n", "not valid YAML"],
    ["s3 without a bucket", "version: 0.1\nstorage: {s3: {region: us-east-1}}\n", "storage.s3.bucket: no bucket parameter provided"],
    ["s3 without a region", "version: 0.1\nstorage: {s3: {bucket: b}}\n", "storage.s3.region: no region parameter provided"],
    ["s3 in a region that is none", "version: 0.1\nstorage: {s3: {bucket: b, region: moon}}\n", "invalid region provided: moon"],
    ["s3 with small parts", "version: 0.1\nstorage: {s3: {bucket: b, region: us-east-1, chunksize: 100}}\n", "storage.s3.chunksize: found 100, expected at least 5242880 bytes"],
    ["s3 with an unknown class", "version: 0.1\nstorage: {s3: {bucket: b, region: us-east-1, storageclass: gold}}\n", "storage.s3.storageclass: found \"gold\", expected one of NONE, STANDARD"],
    ["s3 with an unknown ACL", "version: 0.1\nstorage: {s3: {bucket: b, region: us-east-1, objectacl: all}}\n", "storage.s3.objectacl"],
    ["s3 with signatures of old", "version: 0.1\nstorage: {s3: {bucket: b, region: us-east-1, v4auth: false}}\n", "storage.s3.v4auth"],
    ["azure without an account", "version: 0.1\nstorage: {azure: {container: c, accountkey: k}}\n", "storage.azure.accountname: no accountname parameter provided"],
    ["azure without credentials", "version: 0.1\nstorage: {azure: {container: c, accountname: a}}\n", "invalid credentials type"],
    ["gcs without a bucket", "version: 0.1\nstorage: {gcs: {}}\n", "storage.gcs.bucket: no bucket parameter provided"],
    ["gcs with odd chunks", "version: 0.1\nstorage: {gcs: {bucket: b, chunksize: 300000}}\n", "expected a multiple of 262144"],
    ["oss without a key", "version: 0.1\nstorage: {oss: {bucket: b, region: r, accesskeysecret: s}}\n", "storage.oss.accesskeyid: no accesskeyid parameter provided"],
    ["threads that are none", "version: 0.1\nstorage: {filesystem: {maxthreads: x}}\n", 'storage.filesystem.maxthreads: found "x", expected a whole number'],
    ["a level that is none", `${BASE}log: {level: loud}\n`, 'c.yml:3:7: log.level: found "loud", expected one of error, warn, info, debug'],
    ["an old level that is none", `${BASE}loglevel: trace\n`, 'c.yml:3:1: log.level: found "trace"'],
    ["a formatter that is none", `${BASE}log: {formatter: xml}\n`, "unsupported logging formatter"],
    ["fields that are none", `${BASE}log: {fields: [a]}\n`, "log.fields"],
    ["a mail without a host", `${BASE}log: {hooks: [{type: mail, levels: [error], options: {to: [a@b]}}]}\n`, "log.hooks[0].options.smtp.addr: found \"\", expected host:port"],
    ["a mail without a recipient", `${BASE}log: {hooks: [{type: mail, options: {smtp: {addr: "h:25"}}}]}\n`, "log.hooks[0].options.to"],
    ["a net that is none", `${BASE}http: {net: udp}\n`, "unknown address type"],
    ["a socket without a path", `${BASE}http: {net: unix}\n`, "http.addr: is missing; with http.net unix it is the path of the socket"],
    ["a mode that is none", `${BASE}http: {net: unix, addr: /s, socketmode: rw}\n`, "http.socketmode: found \"rw\", expected an octal mode"],
    ["a prefix without slashes", `${BASE}http: {prefix: a}\n`, "expected a path with a slash at both ends"],
    ["a drain time that is none", `${BASE}http:\n  draintimeout: soon\n`, 'c.yml:4:3: http.draintimeout: found "soon", expected a duration like 30s, 10m or 168h'],
    ["a drain time below nothing", `${BASE}http: {draintimeout: -1s}\n`, "expected a duration of at least 0ms"],
    ["headers that are none", `${BASE}http: {headers: [a]}\n`, "http.headers"],
    ["an idle time too long", `${BASE}http: {limits: {idletimeout: 10m}}\n`, "expected a duration of at most 255000ms"],
    ["manifests too small", `${BASE}http: {limits: {manifestbytes: 10}}\n`, "expected at least 1024 bytes"],
    ["a certificate without a key", `${BASE}http: {tls: {certificate: /c}}\n`, "http.tls.key: is missing; a certificate needs its key"],
    ["a key without a certificate", `${BASE}http: {tls: {key: /k}}\n`, "http.tls.certificate: is missing"],
    ["a certificate and ACME", `${BASE}http: {tls: {certificate: /c, key: /k, letsencrypt: {cachefile: /x, hosts: [h]}}}\n`, "cannot specify both certificate and Let's Encrypt"],
    ["ACME without hosts", `${BASE}http: {tls: {letsencrypt: {cachefile: /x}}}\n`, "http.tls.letsencrypt.hosts"],
    ["client authorities without TLS", `${BASE}http: {tls: {clientcas: [/c]}}\n`, "http.tls.clientcas: needs http.tls.certificate"],
    ["a client check that is none", `${BASE}http: {tls: {clientauth: maybe}}\n`, "expected one of require-and-verify-client-cert"],
    ["a TLS version that is none", `${BASE}http: {tls: {minimumtls: ssl3}}\n`, "expected one of tls1.0, tls1.1, tls1.2, tls1.3"],
    ["an unknown kind of auth", `${BASE}auth: {ldap: {}}\n`, "no access controller registered with name: ldap"],
    ["two kinds of auth", `${BASE}auth: {silly: {realm: r, service: s}, htpasswd: {realm: r, path: /p}}\n`, "must provide exactly one type. Provided: [htpasswd silly]"],
    ["htpasswd without a realm", `${BASE}auth: {htpasswd: {path: /p}}\n`, "auth.htpasswd.realm: is missing, and must be set"],
    ["silly without a service", `${BASE}auth: {silly: {realm: r}}\n`, "auth.silly.service: is missing"],
    ["token without keys", `${BASE}auth: {token: {realm: r, service: s, issuer: i}}\n`, "token auth requires at least one token signing key"],
    ["token with an algorithm that is none", `${BASE}auth: {token: {realm: r, service: s, issuer: i, jwks: /j, signingalgorithms: [none]}}\n`, "unsupported signing algorithm: none"],
    ["an endpoint without a URL", `${BASE}notifications: {endpoints: [{name: a}]}\n`, "notifications.endpoints[0].url"],
    ["an endpoint in a form that is none", `${BASE}notifications: {endpoints: [{url: "http://h", format: xml}]}\n`, "expected one of distribution, cloudevents"],
    ["a status that is none", `${BASE}health: {http: [{uri: "http://h", statuscode: 9}]}\n`, "expected a whole number of at least 100"],
    ["a check that is there twice", `${BASE}health: {file: [{file: /a}, {file: /a}]}\n`, "a second check of /a"],
    ["a Redis cache without Redis", "version: 0.1\nstorage: {inmemory: {}, cache: {blobdescriptor: redis}}\n", "redis configuration required"],
    ["users of certificates that nobody is asked for", `${BASE}auth: {htpasswd: {realm: r, path: /p}, certificate: {enabled: true}}\n`, "auth.certificate.enabled: needs http.tls.clientcas"],
    ["a Redis certificate without a key", `${BASE}redis: {addrs: ["h:1"], tls: {certificate: /c}}\n`, "redis.tls: needs both certificate and key"],
    ["a tags limit below nothing", `${BASE}tags: {maxtags: -1}\n`, "maxtags limit must be a non-negative integer value"],
    ["platforms that are none", `${BASE}validation: {manifests: {indexes: {platforms: some}}}\n`, "expected one of all, none, list"],
    ["a pattern that is none", `${BASE}validation: {manifests: {urls: {allow: ["("]}}}\n`, "expected a regular expression"],
    ["a middleware that is none", `${BASE}middleware: {storage: [{name: magic}]}\n`, "no storage middleware registered with name: magic"],
    ["a registry middleware", `${BASE}middleware: {registry: [{name: magic}]}\n`, "no registry middleware registered with name: magic"],
    ["a repository middleware", `${BASE}middleware: {repository: [{name: magic}]}\n`, "no repository middleware registered with name: magic"],
    ["a window that is none", "version: 0.1\nstorage: {inmemory: {}, maintenance: {garbagecollect: {window: night}}}\n", "expected a time of day from-to"],
    ["a purge age that is none", "version: 0.1\nstorage: {inmemory: {}, maintenance: {uploadpurging: {age: old}}}\n", 'found "old", expected a duration'],
    ["a flag that is none", "version: 0.1\nstorage: {inmemory: {}, delete: {enabled: maybe}}\n", 'storage.delete.enabled: found "maybe", expected true or false'],
  ];
  for (const [what, text, expected] of bad) test(what, async () => expect(await problemsOf(text)).toContain(expected));

  test("all of it at once", async () => expect((await problemsOf(`${BASE}http: {net: udp, draintimeout: x}\ntags: {maxtags: -1}\n`)).split("\n").length).toBe(3));
  test("a file that is not there", async () => await expect(loadConfig({ path: "/nowhere/c.yml", env: {}, strict: false })).rejects.toThrow("open /nowhere/c.yml: no such file or directory"));
  test("never a secret", async () => expect(await problemsOf(`${BASE}proxy: {password: [hunter2]}\n`)).not.toContain("hunter2"));
});

describe("habits of the originals", () => {
  test("short forms, empty sections, yes and no, numbers for texts, nanoseconds", async () => {
    const { config } = await load("version: 0.1\nstorage:\n  filesystem:\n  delete: {enabled: yes}\nhttp: {secret: 123, draintimeout: 5000000, relativeurls: on}\nloglevel: WARN\nauth: none\n");
    expect(config.storage.filesystem).toEqual({ rootdirectory: "/var/lib/registry", maxthreads: 100 });
    expect(config.storage.delete.enabled).toBe(true);
    expect(config.http).toMatchObject({ secret: "123", draintimeout: 5, relativeurls: true });
    expect(config.log.level).toBe("warn");
  });
  test("the flat form of Redis, the alias of s3, catalog and tags without a limit", async () => {
    const { config } = await load("version: 0.1\nstorage: {s3aws: {bucket: b, region: us-east-1}}\nredis: {addr: 'h:6379'}\ncatalog: {maxentries: -5}\ntags: {maxtags: 0}\n");
    expect(config.storage.s3?.bucket).toBe("b");
    expect(config.redis.addrs).toEqual(["h:6379"]);
    expect([config.catalog.maxentries, config.tags.maxtags]).toEqual([1000, 1000]);
  });
  test("unknown keys warn with the nearest name, and are errors when strict", async () => {
    const text = `${BASE}http:\n  adr: :5000\n`;
    const { warnings } = await load(text);
    expect(warnings.map((warning) => [warning.key, warning.message, warning.source])).toEqual([["http.adr", "unknown key; did you mean addr?", { kind: "file", line: 4, column: 3 }]]);
    expect(await problemsOf(text, {}, true)).toBe("c.yml:4:3: http.adr: unknown key; did you mean addr?");
  });
  test("keys without effect warn by name", async () => {
    const text = `${BASE}reporting: {bugsnag: {apikey: x}}\nredis: {addrs: ["h:1"], poolsize: 5}\n`;
    expect((await load(text)).warnings.map((warning) => warning.key).sort()).toEqual(["redis.poolsize", "reporting"]);
  });
  test("middlewares that there are none of may be there when they are disabled", async () => {
    const { config, warnings } = await load(`${BASE}middleware: {registry: [{name: magic, disabled: true}], repository: [{name: more, disabled: true, options: {a: b}}]}\n`);
    expect([config.middleware.registry.length, config.middleware.repository.length]).toEqual([1, 1]);
    expect(warnings.map(({ message }) => message)).toEqual(["has no effect: there are no middlewares of this kind"]);
  });
  test("the last of two equal keys wins, with a warning", async () => {
    const { config, warnings } = await load(`${BASE}http: {addr: ":1"}\nhttp: {addr: ":2"}\n`);
    expect(config.http.addr).toBe(":2");
    expect(warnings[0]?.message).toContain("a second time");
  });
});

describe("variables", () => {
  const rows: [string, string, Environment, (config: LoadedConfig["config"]) => unknown, unknown][] = [
    ["a text", BASE, { REGISTRY_HTTP_ADDR: ":6000" }, (c) => c.http.addr, ":6000"],
    ["a flag of a map", BASE, { REGISTRY_STORAGE_DELETE_ENABLED: "true" }, (c) => c.storage.delete.enabled, true],
    ["a map in one piece", BASE, { REGISTRY_HTTP_HEADERS: "{X-Foo: [bar]}" }, (c) => c.http.headers, { "X-Foo": ["bar"] }],
    ["a key of a map", BASE, { "REGISTRY_HTTP_HEADERS_X-Foo": "[bar]" }, (c) => c.http.headers, { "x-foo": ["bar"] }],
    ["another driver", "version: 0.1\nstorage: {filesystem: {}, delete: {enabled: true}}\n", { REGISTRY_STORAGE: "s3", REGISTRY_STORAGE_S3_BUCKET: "b", REGISTRY_STORAGE_S3_REGION: "us-east-1" }, (c) => [c.storage.filesystem, c.storage.s3?.bucket, c.storage.delete.enabled], [undefined, "b", false]],
    ["a driver where the file has none", "version: 0.1\n", { REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: "/x" }, (c) => c.storage.filesystem?.rootdirectory, "/x"],
    ["storage in one piece", BASE, { REGISTRY_STORAGE: "{filesystem: {rootdirectory: /x}}" }, (c) => c.storage.filesystem?.rootdirectory, "/x"],
    ["a list by position", BASE, { REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME: "a", REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL: "http://h" }, (c) => c.notifications.endpoints.map((e) => [e.name, e.url]), [["a", "http://h"]]],
    ["a list in one piece", BASE, { REGISTRY_REDIS_ADDRS: "['h:6379']" }, (c) => c.redis.addrs, ["h:6379"]],
    ["the options of Redis spelled out", BASE, { REGISTRY_REDIS_OPTIONS_ADDRS: "['h:6379']" }, (c) => c.redis.addrs, ["h:6379"]],
    ["distribution's own names of fields", BASE, { REGISTRY_HEALTH_FILECHECKERS_0_FILE: "/x", REGISTRY_NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES: "true" }, (c) => [c.health.file[0]?.file, c.notifications.events.includereferences], ["/x", true]],
    ["the file's names of the same", BASE, { REGISTRY_HEALTH_FILE_0_FILE: "/x", REGISTRY_NOTIFICATIONS_EVENTS_INCLUDEREFERENCES: "true" }, (c) => [c.health.file[0]?.file, c.notifications.events.includereferences], ["/x", true]],
    ["keys with underscores", "version: 0.1\nstorage: {azure: {accountname: a, accountkey: k, container: c}}\n", { REGISTRY_STORAGE_AZURE_MAX_RETRIES: "9" }, (c) => c.storage.azure?.max_retries, 9],
    ["what distribution panics over", BASE, { REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED: "true" }, (c) => c.storage.maintenance.readonly.enabled, true],
    ["and the form that it takes", BASE, { REGISTRY_STORAGE_MAINTENANCE_READONLY: '{"enabled":true}' }, (c) => c.storage.maintenance.readonly.enabled, true],
    ["auth by kind and key", BASE, { REGISTRY_AUTH: "htpasswd", REGISTRY_AUTH_HTPASSWD_REALM: "r", REGISTRY_AUTH_HTPASSWD_PATH: "/p" }, (c) => c.auth.htpasswd?.path, "/p"],
    ["the level, in both names", BASE, { REGISTRY_LOGLEVEL: "debug" }, (c) => c.log.level, "debug"],
    ["nothing", `${BASE}http: {secret: x}\n`, { REGISTRY_HTTP_SECRET: "" }, (c) => c.http.secret ?? "", ""],
    ["what begins otherwise is not looked at", BASE, { registry_http_addr: ":1", OTHER: "x" }, (c) => c.http.addr, ""],
  ];
  for (const [what, text, env, pick, expected] of rows) test(what, async () => expect(pick((await load(text, env)).config)).toEqual(expected));

  test("that mean nothing warn by name, never by value", async () => {
    const { warnings } = await load(BASE, { REGISTRY_HTTP_FOO: "hunter2", REGISTRY_http_addr: ":1" });
    expect(warnings.map((warning) => warning.message)).toEqual(["Ignoring unrecognized environment variable REGISTRY_HTTP_FOO", "Ignoring unrecognized environment variable REGISTRY_http_addr"]);
  });
  test("of the version changes nothing", async () => {
    const { config, warnings } = await load(BASE, { REGISTRY_VERSION: "9" });
    expect(config.version).toBe("0.1");
    expect(warnings.map((warning) => warning.message)).toEqual(["has no effect: the version is that of the file"]);
  });
  test("that do not fit stop the start, with their name", async () => {
    expect(await problemsOf(BASE, { REGISTRY_NOTIFICATIONS_ENDPOINTS_3_NAME: "a" })).toContain("environment variable REGISTRY_NOTIFICATIONS_ENDPOINTS_3_NAME: undefined index: 3");
    expect(await problemsOf(BASE, { REGISTRY_NOTIFICATIONS_ENDPOINTS_X_NAME: "a" })).toContain("non-numeric index: X");
    expect(await problemsOf(BASE, { REGISTRY_HTTP_DRAINTIMEOUT: "soon" })).toContain("environment variable REGISTRY_HTTP_DRAINTIMEOUT: http.draintimeout: found \"soon\"");
    expect(await problemsOf(BASE, { REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: "/x" })).toContain("must provide exactly one storage type");
  });
});

test("config-check hides secrets and says where values came from", async () => {
  const text = `${BASE}http:\n  secret: hunter2\n  addr: ":1"\nproxy: {remoteurl: "https://user:hunter2@h", password: hunter2}\nnotifications: {endpoints: [{name: a, url: "http://h", headers: {Authorization: [hunter2]}}]}\n`;
  const printed = effectiveYaml(await load(text, { REGISTRY_HTTP_ADDR: ":2" }));
  expect(printed).not.toContain("hunter2");
  expect(printed).toMatch(/addr: ":?2"? # REGISTRY_HTTP_ADDR|addr: :2 # REGISTRY_HTTP_ADDR/);
  expect(printed).toMatch(/secret: <hidden> # .*c\.yml:4/);
  expect(printed).toContain("relativeurls: false # default");
});

test("config-check hides passwords with an @, and tokens in URLs", async () => {
  const text = `${BASE}proxy: {remoteurl: "https://user:p@hunter2@h"}\nnotifications: {endpoints: [{name: a, url: "http://h/x?token=hunter2&a=b"}]}\n`;
  const printed = effectiveYaml(await load(text));
  expect(printed).not.toContain("hunter2");
  expect(printed).toContain("https://<hidden>@h");
  expect(printed).toContain("http://h/x?token=<hidden>&a=b");
});

test.each([
  'proxy: {remoteurl: "htp://user:hunter2@h/x?token=hunter2"}',
  'proxy: {remoteurl: "user:p@/hunter2@h"}',
  "redis: [{addr: x, password: hunter2}]",
  "proxy: {remotes: {password: hunter2}}",
  'notifications: {endpoints: [{name: a, url: "htps://u:hunter2@h"}]}',
  'log: {hooks: [{type: mail, options: {smtp: {addr: "smtp://u:hunter2@h"}, from: a, to: [b]}}]}',
])("what is wrong is said without the secret: %s", async (text) => {
  const message = await problemsOf(`${BASE}${text}\n`);
  expect(message).toContain("expected");
  expect(message).not.toContain("hunter2");
});
