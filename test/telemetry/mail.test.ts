import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { makeCertificate } from "../support/certificates.ts";
import { expectStatus } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { LOGIN, type MailServer, startMailServer } from "./mail-server.ts";

/** A registry whose log gets an error for every file that is made: a health check fails. */
interface Troubled extends AsyncDisposable {
  readonly registry: RegistryProcess;
  /** Makes trouble number 0, 1, 2 … 4, and waits for its line. */
  trouble(number: number): Promise<void>;
}

interface TroubledOptions {
  readonly smtp: Readonly<Record<string, unknown>>;
  readonly hook?: Readonly<Record<string, unknown>>;
  readonly draintimeout?: string;
  readonly env?: Readonly<Record<string, string>>;
}

async function startTroubled({ smtp, hook, draintimeout, env }: TroubledOptions): Promise<Troubled> {
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await tempFolder());
  const files = Array.from({ length: 5 }, (_, number) => join(folder.path, `trouble-${number}`));
  const hooks = [{ type: "mail", levels: ["error"], options: { smtp, from: "registry@example.com", to: ["ops@example.com", "boss@example.com"] }, ...hook }];
  const config = { log: { hooks }, http: { draintimeout: draintimeout ?? "5s" }, health: { file: files.map((file) => ({ file, interval: "20ms" })) } };
  const registry = cleanup.use(await startRegistry({ config, ...(env === undefined ? {} : { env }) }));
  const owned = cleanup.move();
  return {
    registry,
    async trouble(number) {
      await Bun.write(files[number] ?? "", "");
      await registry.child.waitForOutput(new RegExp(`health check failed.*trouble-${number}`));
    },
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

function smtpOf(server: MailServer, more: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
  return { addr: `127.0.0.1:${server.port}`, ...more };
}

describe("log.hooks", () => {
  test("log.hooks: mails go from and to the configured addresses, with the line and its fields", async () => {
    await using server = await startMailServer();
    await using troubled = await startTroubled({ smtp: smtpOf(server) });
    await troubled.trouble(0);
    const [mail] = await server.waitFor(1);
    expect(mail).toMatchObject({ from: "registry@example.com", to: ["ops@example.com", "boss@example.com"], user: undefined, secure: false, subject: "[error] 127.0.0.1: health check failed" });
    expect(mail?.text).toStartWith("health check failed\n\n");
    expect(mail?.text).toContain("err.message: file exists\n");
    expect(mail?.text).toMatch(/^instance\.id: [0-9a-f-]{36}$/m);
  });

  test("log.hooks[].levels: only lines of these levels are mailed", async () => {
    await using server = await startMailServer();
    await using troubled = await startTroubled({ smtp: smtpOf(server), hook: { levels: ["info"] } });
    await troubled.trouble(0);
    const mails = await server.waitFor(1);
    expect(new Set(mails.map((mail) => mail.subject.slice(0, 6)))).toEqual(new Set(["[info]"]));
  });

  test("log.hooks[].disabled and other types: nothing is sent", async () => {
    await using server = await startMailServer();
    await using disabled = await startTroubled({ smtp: smtpOf(server), hook: { disabled: true } });
    await using pager = await startTroubled({ smtp: smtpOf(server), hook: { type: "pager" } });
    await disabled.trouble(0);
    await pager.trouble(0);
    await disabled.registry.child.stop();
    await pager.registry.child.stop();
    expect(server.received).toEqual([]);
    expect(pager.registry.child.output()).toContain("there are no log hooks of this type");
  });

  test("log.hooks[].options.smtp.username and password: a login is made, and never logged", async () => {
    await using server = await startMailServer({ login: true });
    await using troubled = await startTroubled({ smtp: smtpOf(server, LOGIN) });
    await troubled.trouble(0);
    expect((await server.waitFor(1))[0]?.user).toBe(LOGIN.username);
    await using wrong = await startTroubled({ smtp: smtpOf(server, { ...LOGIN, password: "the-wrong-password" }) });
    await wrong.trouble(0);
    await wrong.registry.child.waitForOutput(/log lines cannot be mailed/);
    expect(wrong.registry.child.output()).not.toContain("the-wrong-password");
    expect(server.received.length).toBe(1);
  });

  test("log.hooks[].options.smtp.insecure: a certificate that nobody vouches for is taken, with STARTTLS and TLS", async () => {
    const tls = await makeCertificate("mail.internal");
    await using starttls = await startMailServer({ tls, login: true });
    await using implicit = await startMailServer({ tls: { ...tls, implicit: true }, login: true });
    for (const [server, scheme] of [[starttls, ""], [implicit, "smtps://"]] as const) {
      const smtp = { ...LOGIN, addr: `${scheme}localhost:${server.port}` };
      await using careful = await startTroubled({ smtp });
      await careful.trouble(0);
      await careful.registry.child.waitForOutput(/log lines cannot be mailed.*certificate/);
      expect(server.received).toEqual([]);
      await using careless = await startTroubled({ smtp: { ...smtp, insecure: true } });
      await careless.trouble(0);
      expect((await server.waitFor(1))[0]).toMatchObject({ secure: true, user: LOGIN.username });
    }
  });

  test("a certificate of a trusted authority is taken", async () => {
    await using folder = await tempFolder();
    const authority = await makeCertificate("authority", { isAuthority: true });
    const authorityFile = join(folder.path, "authority.pem");
    await Bun.write(authorityFile, authority.certificate);
    await using server = await startMailServer({ tls: await makeCertificate("localhost", { issuer: authority }) });
    await using troubled = await startTroubled({ smtp: { addr: `localhost:${server.port}` }, env: { NODE_EXTRA_CA_CERTS: authorityFile } });
    await troubled.trouble(0);
    expect((await server.waitFor(1))[0]?.secure).toBe(true);
  });

  test("a mail server that is away is spoken of once, holds up no request, and does not hold up the end", async () => {
    await using server = await startMailServer();
    const { port } = server;
    await server[Symbol.asyncDispose]();
    await using troubled = await startTroubled({ smtp: { addr: `127.0.0.1:${port}` } });
    const { registry } = troubled;
    for (const number of [0, 1, 2]) await troubled.trouble(number);
    await registry.child.waitForOutput(/log lines cannot be mailed/);
    const before = performance.now();
    await expectStatus(200, `${registry.url}/livez`);
    expect(performance.now() - before).toBeLessThan(1000);
    const stopping = performance.now();
    expect(await registry.child.stop()).toBe(0);
    expect(performance.now() - stopping).toBeLessThan(3000);
    expect(registry.child.output().match(/log lines cannot be mailed/g)?.length).toBe(1);
    expect(registry.child.output()).toMatch(/log lines were not mailed.*lost=3/);
  });

  test("a refused mail is lost, the next one is sent, and the state changes are logged", async () => {
    await using server = await startMailServer({ refuses: "trouble-0" });
    await using troubled = await startTroubled({ smtp: smtpOf(server) });
    await troubled.trouble(0);
    await troubled.registry.child.waitForOutput(/log lines cannot be mailed.*not wanted/);
    await troubled.trouble(1);
    expect((await server.waitFor(1))[0]?.text).toContain("trouble-1");
    await troubled.registry.child.waitForOutput(/log lines are mailed again/);
  });

  test("what waits when the registry ends is sent within http.draintimeout", async () => {
    await using server = await startMailServer();
    await using troubled = await startTroubled({ smtp: smtpOf(server), draintimeout: "10s", hook: { levels: ["info"] } });
    await troubled.registry.child.stop();
    expect(server.received.map((mail) => mail.text.split("\n")[0])).toContain("stopping server gracefully. Draining connections for 10s");
  });
});
