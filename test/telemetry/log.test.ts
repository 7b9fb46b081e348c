import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { expectStatus } from "../support/http.ts";
import { registryCommand, type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";

type Fields = Readonly<Record<string, unknown>>;

/** A line of the output that is JSON and holds what it should. */
async function jsonLine(registry: RegistryProcess, has: RegExp): Promise<Fields> {
  const [line] = await registry.child.waitForOutput(new RegExp(`^\\{.*${has.source}.*\\}$`, "m"));
  return JSON.parse(line) as Fields;
}

async function startLogging(log: object, more: object = {}): Promise<RegistryProcess> {
  return await startRegistry({ config: { log: { level: undefined, ...log }, ...more } });
}

/** Asks for something that is not there, and waits until its line would be out. */
async function askForNothing(registry: RegistryProcess): Promise<void> {
  await expectStatus(404, `${registry.url}/v2/a/manifests/none`);
  await Bun.sleep(50);
}

describe("log.level", () => {
  test("log.level: what is less important is left out, but the address that is listened on", async () => {
    await using quiet = await startLogging({ level: "warn" });
    await askForNothing(quiet);
    expect(quiet.child.output()).toContain(`listening on ${quiet.host}\n`);
    expect(quiet.child.output()).not.toContain("level=info");
    await using usual = await startLogging({});
    await askForNothing(usual);
    expect(usual.child.output()).toContain("level=info");
    expect(usual.child.output()).not.toContain("level=debug");
    expect(usual.child.output()).toMatch(new RegExp(`level=info msg="listening on ${usual.host}"`));
  });
  test("log.level: debug tells what the store is asked", async () => {
    await using registry = await startLogging({ level: "debug" });
    await askForNothing(registry);
    await registry.child.waitForOutput(/level=debug msg="storage action" action=\w+ driver=filesystem durationMs=[\d.]+ .*path=\/docker\/registry\/v2\//);
  });
  test("loglevel: the old name counts where the new one says nothing", async () => {
    await using old = await startLogging({}, { loglevel: "error" });
    await askForNothing(old);
    expect(old.child.output()).not.toContain("level=info");
    await using both = await startLogging({ level: "INFO" }, { loglevel: "error" });
    expect(both.child.output()).toContain("level=info");
  });
});

describe("log.formatter", () => {
  test("log.formatter: text, as logrus writes it", async () => {
    await using registry = await startLogging({ formatter: "text" });
    await askForNothing(registry);
    expect(registry.child.output()).toMatch(/^time="\d{4}-\d\d-\d\dT[\d:.]+Z" level=info msg="response completed with error" go\.version=\S+ http\.request\.host="127\.0\.0\.1:\d+" http\.request\.id=\S+ /m);
  });
  test("log.formatter: json and logstash, a line an object", async () => {
    for (const formatter of ["json", "logstash"]) {
      await using registry = await startLogging({ formatter });
      await askForNothing(registry);
      expect(await jsonLine(registry, /response completed with error/)).toMatchObject({ level: "info", msg: "response completed with error", "http.request.method": "GET", "http.request.uri": "/v2/a/manifests/none", "http.response.status": 404 });
    }
  });
});

test("the log is on stderr, the access log on stdout", async () => {
  await using folder = await tempFolder();
  const file = join(folder.path, "config.yml");
  await Bun.write(file, "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\n");
  const [out, err] = [join(folder.path, "out"), join(folder.path, "err")];
  const child = Bun.spawn([...registryCommand(), "serve", file], { stdout: Bun.file(out), stderr: Bun.file(err) });
  let address: string | undefined;
  for (let wait = 0; address === undefined && wait < 200; wait++) {
    await Bun.sleep(50);
    address = /listening on ([^\s"]+)/.exec(await Bun.file(err).text())?.[1];
  }
  await expectStatus(200, `http://${address}/v2/`);
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0);
  expect(await Bun.file(out).text()).toMatch(/^127\.0\.0\.1 - - \[[^\]]+\] "GET \/v2\/ HTTP\/1\.1" 200 2 "" "[^"]*"\n$/);
  expect((await Bun.file(err).text()).split("\n").filter((line) => line !== "" && !line.startsWith('time="'))).toEqual([]);
});

test("log.fields and log.reportcaller: on every line", async () => {
  await using registry = await startLogging({ formatter: "json", fields: { service: "registry", environment: "staging" }, reportcaller: true });
  const { service, environment, file, func } = await jsonLine(registry, /listening on/);
  expect([service, environment]).toEqual(["registry", "staging"]);
  expect(String(file)).toMatch(/:\d+$/);
  expect(func).toBeDefined();
});

describe("log.accesslog", () => {
  test("log.accesslog.formatter: Combined Log Format, or JSON with request id, user and repository", async () => {
    await using folder = await tempFolder();
    const path = join(folder.path, "htpasswd");
    await Bun.write(path, `alice:${await Bun.password.hash("sesame", { algorithm: "bcrypt", cost: 4 })}\n`);
    const auth = { htpasswd: { realm: "r", path } };
    const headers = { authorization: `Basic ${btoa("alice:sesame")}`, referer: "http://r", "user-agent": "test/1" };
    await using combined = await startLogging({}, { auth });
    await expectStatus(404, `${combined.url}/v2/a/b/tags/list?n=5`, { headers });
    await combined.child.waitForOutput(/^127\.0\.0\.1 - - \[\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET \/v2\/a\/b\/tags\/list\?n=5 HTTP\/1\.1" 404 \d+ "http:\/\/r" "test\/1"$/m);
    await using json = await startLogging({ accesslog: { formatter: "json" } }, { auth });
    const response = await expectStatus(404, `${json.url}/v2/a/b/tags/list?n=5`, { headers });
    const line = await jsonLine(json, /"uri":"\/v2\/a\/b\/tags\/list\?n=5"/);
    expect(line).toMatchObject({ clientAddress: "127.0.0.1", method: "GET", status: 404, user: "alice", repository: "a/b", userAgent: "test/1", requestId: response.headers.get("x-request-id") });
    expect(Number(line["bytes"])).toBe((await response.bytes()).length);
    expect(Number(line["durationMs"])).toBeGreaterThan(0);
  });
  test("log.accesslog.disabled: no access log", async () => {
    await using registry = await startLogging({ accesslog: { disabled: true } });
    await askForNothing(registry);
    await registry.child.stop();
    expect(registry.child.output()).toContain("response completed with error");
    expect(registry.child.output()).not.toContain("HTTP/1.1\" 404");
  });
});

test("reporting and compatibility: named as without effect, and nothing else happens", async () => {
  await using registry = await startLogging({}, { reporting: { bugsnag: { apikey: "the-key-of-bugsnag" }, newrelic: { licensekey: "the-key-of-newrelic" } }, compatibility: { schema1: { enabled: true } } });
  expect(registry.child.output()).toMatch(/level=warning msg="[^"]*config\.yml:\d+:\d+: reporting: has no effect/);
  expect(registry.child.output()).toMatch(/config\.yml:\d+:\d+: compatibility: has no effect/);
  expect(registry.child.output()).not.toContain("the-key-of");
  await expectStatus(200, `${registry.url}/v2/`);
});

test("request ids are the same in log, answer and access log", async () => {
  await using registry = await startLogging({ formatter: "json", accesslog: { formatter: "json" } });
  const own = await expectStatus(200, `${registry.url}/v2/`);
  const id = own.headers.get("x-request-id") ?? "";
  expect((await jsonLine(registry, new RegExp(`"http\\.request\\.id":"${id}"`)))["http.response.status"]).toBe(200);
  expect((await jsonLine(registry, new RegExp(`"requestId":"${id}"`)))["status"]).toBe(200);
});

test("secrets are in no log, at the most talkative level", async () => {
  await using folder = await tempFolder();
  const path = join(folder.path, "htpasswd");
  const hash = await Bun.password.hash("password-of-alice", { algorithm: "bcrypt", cost: 4 });
  await Bun.write(path, `alice:${hash}\nbroken:{PLAIN}password-of-broken\n`);
  const config = {
    http: { secret: "secret-of-http", headers: { "X-Frame-Options": ["DENY"] } },
    auth: { htpasswd: { realm: "r", path } },
    proxy: { remotes: [{ prefix: "mirror", remoteurl: "http://user-of-url:password-of-url@127.0.0.1:1", username: "someone", password: "password-of-upstream" }], local: ["**"] },
    notifications: { directory: folder.path, endpoints: [{ name: "a", url: "http://user:password-of-hook@127.0.0.1:1/token-in-path", headers: { Authorization: ["Bearer token-of-hook"] }, secret: "secret-of-hook" }] },
  };
  await using registry = await startRegistry({ config: { log: { level: "debug" }, ...config } });
  const as = (password: string): { readonly headers: Record<string, string> } => ({ headers: { authorization: `Basic ${btoa(`alice:${password}`)}` } });
  await expectStatus(200, `${registry.url}/v2/`, as("password-of-alice"));
  await expectStatus(401, `${registry.url}/v2/`, as("wrong-password"));
  await fetch(`${registry.url}/v2/`, { headers: { authorization: "Bearer token-of-client" } });
  await fetch(`${registry.url}/v2/a/tags/list?access_token=token-in-query&_state=state-in-query`, as("password-of-alice"));
  const begun = await expectStatus(202, `${registry.url}/v2/a/blobs/uploads/`, { method: "POST", ...as("password-of-alice") });
  const location = new URL(begun.headers.get("location") ?? "", registry.url);
  await expectStatus(202, location.href, { method: "PATCH", body: "x", headers: { ...as("password-of-alice").headers, "content-type": "application/octet-stream" } });
  await fetch(`${registry.url}/v2/mirror/a/manifests/latest`, as("password-of-alice"));
  await registry.child.stop();

  const state = location.searchParams.get("_state") ?? "";
  expect(state.length).toBeGreaterThan(20);
  const secrets = ["secret-of-http", "password-of-alice", "wrong-password", btoa("alice:password-of-alice"), hash, "password-of-broken", "password-of-url", "password-of-upstream", "password-of-hook", "token-of-hook", "secret-of-hook", "token-of-client", "token-in-query", "state-in-query", state];
  const output = registry.child.output();
  expect(secrets.filter((secret) => output.includes(secret))).toEqual([]);
  expect(output).toContain("/v2/a/tags/list?access_token=<hidden>&_state=<hidden>");
});
