import { heapStats } from "bun:jsc";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { type TempFolder, tempFolder } from "../../../test/support/temp-folder.ts";
import type { RepositoryName } from "../../oci/name.ts";
import type { AccessController } from "../controller.ts";
import { openAccessController } from "../open.ts";
import { AUTH_OPTIONS } from "../options.ts";
import { settled } from "../../registry/testing/test-clock.ts";
import { access, basicHeader, CATALOG, credentialsOf, outcomeOf, refusal, testParts } from "../testing/parts.ts";

let folder: TempFolder;
beforeAll(async () => void (folder = await tempFolder()));
afterAll(async () => await folder[Symbol.asyncDispose]());

const COST = 4;
const entry = async (user: string, password: string, cost = COST): Promise<string> => `${user}:${await Bun.password.hash(password, { algorithm: "bcrypt", cost })}\n`;

interface Opened {
  readonly controller: AccessController;
  readonly path: string;
  readonly parts: ReturnType<typeof testParts>;
}

let files = 0;
async function openWith(passwords: string | undefined, options: Partial<z.input<typeof AUTH_OPTIONS>["htpasswd"]> = {}, more: Partial<z.input<typeof AUTH_OPTIONS>> = {}): Promise<Opened> {
  const path = join(folder.path, `htpasswd-${files++}`);
  if (passwords !== undefined) await writeFile(path, passwords);
  const parts = testParts();
  const controller = await openAccessController(AUTH_OPTIONS.parse({ htpasswd: { realm: "the realm", path, ...options }, ...more }), parts);
  if (controller === undefined) throw new Error("no controller");
  return { controller, path, parts };
}

describe("a password file without rules", () => {
  test("lets users do everything, and says who they are", async () => {
    const { controller } = await openWith(await entry("alice", "secret"));
    for (const required of [[], [access("pull"), access("push")], [access("delete")], [CATALOG]]) {
      expect(await controller.authorize(credentialsOf(basicHeader("alice", "secret")), required)).toEqual({ user: "alice" });
    }
    expect(controller.tokenEndpoint).toBeUndefined();
  });

  test("asks everybody else for a password, whatever is asked for", async () => {
    const { controller } = await openWith(`${await entry("alice", "secret")}sha:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\nplain:secret\n`);
    const wrong = [undefined, "", "Basic", "Basic !!!", "Bearer x", "Digest x", basicHeader("alice", "wrong"), basicHeader("alice", ""), basicHeader("nobody", "secret"), basicHeader("", ""), basicHeader("sha", "password"), basicHeader("plain", "secret")];
    for (const header of wrong) {
      for (const required of [[], [access("pull")]]) {
        const refused = await refusal(controller.authorize(credentialsOf(header, { clientAddress: `198.51.100.${wrong.indexOf(header)}` }), required));
        expect([header, refused.outcome, refused.challenge, refused.required]).toEqual([header, "unauthenticated", 'Basic realm="the realm"', required]);
      }
    }
  });

  test("takes unicode users and passwords, and colons in passwords", async () => {
    const { controller } = await openWith((await entry("ünï", "pässwörd☃")) + (await entry("colon", "a:b:c")));
    expect(await outcomeOf(controller, credentialsOf(basicHeader("ünï", "pässwörd☃")), [])).toBe("allowed");
    expect(await outcomeOf(controller, credentialsOf(basicHeader("colon", "a:b:c")), [])).toBe("allowed");
    expect(await outcomeOf(controller, credentialsOf(basicHeader("colon", "a")), [])).toBe("unauthenticated");
  });

  test("tells which entries let nobody in, and no hash", async () => {
    const { parts } = await openWith("# first\nold:$apr1$zxcv$asdf\n");
    expect(parts.lines).toHaveLength(1);
    expect(parts.lines[0]).toMatchObject({ level: "warn", fields: { line: 2, user: "old" } });
    expect(JSON.stringify(parts.lines)).not.toContain("apr1");
  });

  test("is not opened when a line of the file has no colon", async () => {
    await expect(openWith("alice:x\nbroken\n")).rejects.toThrow(/^auth\.htpasswd\.path: .*: line 2: found no colon/);
  });

  test("is made when it is missing", async () => {
    const { controller, parts } = await openWith(undefined);
    expect(await outcomeOf(controller, credentialsOf(basicHeader("docker", String(parts.lines[0]?.fields["password"]))), [])).toBe("allowed");
  });
});

describe("a password file that changes", () => {
  test("counts from the next second on, also for those who are logged in", async () => {
    const { controller, path, parts } = await openWith(await entry("alice", "secret"));
    const alice = credentialsOf(basicHeader("alice", "secret"));
    expect(await outcomeOf(controller, alice, [])).toBe("allowed");
    await writeFile(path, (await entry("alice", "changed")) + (await entry("bob", "secret")));
    expect(await outcomeOf(controller, alice, [])).toBe("allowed");
    await parts.clock.advance(1_000);
    expect(await outcomeOf(controller, alice, [])).toBe("unauthenticated");
    expect(await outcomeOf(controller, credentialsOf(basicHeader("alice", "changed")), [])).toBe("allowed");
    expect(await outcomeOf(controller, credentialsOf(basicHeader("bob", "secret")), [])).toBe("allowed");
  });

  test("keeps its users while it is broken or gone, and says so", async () => {
    const { controller, path, parts } = await openWith(await entry("alice", "secret"));
    for (const change of [async () => await writeFile(path, "broken"), async () => await rm(path)]) {
      await change();
      await parts.clock.advance(1_000);
      expect(await outcomeOf(controller, credentialsOf(basicHeader("alice", "secret")), [])).toBe("allowed");
      expect(await outcomeOf(controller, credentialsOf(basicHeader("alice", "wrong")), [])).toBe("unauthenticated");
    }
    expect(parts.lines.map(({ level }) => level)).toEqual(["error", "error"]);
  });

  test("is read at a reload, which tells what changed", async () => {
    const { controller, path } = await openWith(await entry("alice", "secret"));
    expect(await controller.reload?.()).toEqual([]);
    await appendFile(path, await entry("bob", "secret"));
    expect(await controller.reload?.()).toEqual(["password file"]);
    expect(await outcomeOf(controller, credentialsOf(basicHeader("bob", "secret")), [])).toBe("allowed");
  });
});

describe("logins", () => {
  test("are hashed once, however many come at once or later", async () => {
    const { controller, parts } = await openWith(await entry("alice", "secret", 9));
    const alice = credentialsOf(basicHeader("alice", "secret"));
    const once = await timeOf(async () => await controller.authorize(alice, []));
    expect(await timeOf(async () => await Promise.all(Array.from({ length: 200 }, async () => await controller.authorize(alice, []))))).toBeLessThan(once);
    await parts.clock.advance(4 * 60_000);
    expect(await timeOf(async () => await controller.authorize(alice, []))).toBeLessThan(once / 2);
  });

  test("take as long for an unknown user as for a known one", async () => {
    const { controller } = await openWith(await entry("alice", "secret", 9), { throttle: { enabled: false } });
    // The quickest of many: on a busy machine a few are all slow.
    const MAX_ROUNDS = 40;
    let [known, unknown] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    const ratio = (): number => unknown / known;
    for (let round = 0; round < MAX_ROUNDS && !(round >= 5 && ratio() > 0.7 && ratio() < 1.4); round++) {
      known = Math.min(known, await timeOf(async () => await outcomeOf(controller, credentialsOf(basicHeader("alice", `wrong ${round}`)), [])));
      unknown = Math.min(unknown, await timeOf(async () => await outcomeOf(controller, credentialsOf(basicHeader(`nobody ${round}`, "wrong")), [])));
    }
    expect(ratio()).toBeGreaterThan(0.7);
    expect(ratio()).toBeLessThan(1.4);
  });

  test("that fail again and again have to wait; those of others and those that are known do not", async () => {
    const { controller, parts } = await openWith((await entry("alice", "secret")) + (await entry("bob", "secret")), { throttle: { failures: 2 } });
    expect(await outcomeOf(controller, credentialsOf(basicHeader("bob", "secret")), [])).toBe("allowed");
    for (let index = 0; index < 3; index++) expect(await outcomeOf(controller, credentialsOf(basicHeader("alice", `wrong ${index}`)), [])).toBe("unauthenticated");
    const refused = await refusal(controller.authorize(credentialsOf(basicHeader("alice", "secret")), []));
    expect([refused.outcome, refused.retryAfterSeconds]).toEqual(["throttled", 1]);
    expect(await outcomeOf(controller, credentialsOf(basicHeader("bob", "secret")), [])).toBe("allowed");
    await parts.clock.advance(1_000);
    const held = outcomeOf(controller, credentialsOf(basicHeader("alice", "secret")), []);
    while (parts.clock.sleeping === 0) await settled();
    await parts.clock.advance(2_000);
    expect(await held).toBe("allowed");
  });

  test("are no oracle for an address that has to wait: a password that somebody else logged in by is not told from a wrong one", async () => {
    const { controller } = await openWith(await entry("alice", "secret"), { throttle: { failures: 2 } });
    expect(await outcomeOf(controller, credentialsOf(basicHeader("alice", "secret")), [])).toBe("allowed");
    const guess = async (password: string): Promise<string> => await outcomeOf(controller, credentialsOf(basicHeader("alice", password), { clientAddress: "198.51.100.1" }), []);
    for (let index = 0; index < 3; index++) expect(await guess(`wrong ${index}`)).toBe("unauthenticated");
    expect([await guess("wrong"), await guess("secret")]).toEqual(["throttled", "throttled"]);
    expect(await outcomeOf(controller, credentialsOf(basicHeader("alice", "secret")), [])).toBe("allowed");
  });

  test("are remembered for the addresses that they came from, whoever else fails there, until the guesses are too many", async () => {
    const { controller } = await openWith(await entry("alice", "secret"), { throttle: { failures: 2 } });
    const attempt = async (user: string, password: string, clientAddress = "192.0.2.1"): Promise<string> => await outcomeOf(controller, credentialsOf(basicHeader(user, password), { clientAddress }), []);
    expect(await attempt("alice", "secret")).toBe("allowed");
    expect(await attempt("alice", "secret", "192.0.2.2")).toBe("allowed");
    for (let index = 0; index < 4; index++) await attempt("bob", `wrong ${index}`, "192.0.2.2");
    expect([await attempt("bob", "again", "192.0.2.2"), await attempt("alice", "secret", "192.0.2.2")]).toEqual(["throttled", "allowed"]);
    for (let index = 0; index < 50; index++) await attempt("alice", `wrong ${index}`);
    expect([await attempt("alice", "again"), await attempt("alice", "secret")]).toEqual(["throttled", "allowed"]);
    for (let index = 50; index < 150; index++) await attempt("alice", `wrong ${index}`);
    expect([await attempt("alice", "secret"), await attempt("alice", "secret", "192.0.2.2")]).toEqual(["throttled", "allowed"]);
  });

  test("that come all at once are no more guesses than one after the other", async () => {
    const { controller } = await openWith(await entry("alice", "secret"), { throttle: { failures: 2 } });
    const outcomes = await Promise.all(Array.from({ length: 60 }, async (_, index) => await outcomeOf(controller, credentialsOf(basicHeader("alice", `wrong ${index}`)), [])));
    const looked = outcomes.filter((outcome) => outcome === "unauthenticated").length;
    expect(looked).toBeGreaterThanOrEqual(3);
    expect(looked).toBeLessThanOrEqual(3 + Math.max(1, Math.floor(availableParallelism() / 2)));
  });

  test("with the same wrong password at once are one failure", async () => {
    const { controller } = await openWith(await entry("alice", "secret"), { throttle: { failures: 1 } });
    const outcomes = await Promise.all(Array.from({ length: 10 }, async () => await outcomeOf(controller, credentialsOf(basicHeader("alice", "wrong")), [])));
    expect(new Set(outcomes)).toEqual(new Set(["unauthenticated"]));
    expect(await outcomeOf(controller, credentialsOf(basicHeader("alice", "secret")), [])).toBe("allowed");
  });
});

describe("access rules", () => {
  const rules = [{ anonymous: true, actions: ["pull"] }, { repositories: ["team/**"], users: ["ci"], actions: ["push"] }, { repositories: ["secret/**"], groups: ["staff"], actions: ["pull"] }, { groups: ["staff"], actions: ["catalog"] }];
  const open = async (more: object = {}): Promise<Opened> => await openWith((await entry("ci", "ci")) + (await entry("alice", "alice")), { rules, groups: { staff: ["alice"] }, ...more });
  const ci = credentialsOf(basicHeader("ci", "ci"));
  const alice = credentialsOf(basicHeader("alice", "alice"));
  const nobody = credentialsOf(undefined);

  test("are asked for users and for the anonymous", async () => {
    const { controller } = await open();
    expect(await outcomeOf(controller, nobody, [access("pull")])).toBe("allowed");
    expect(await outcomeOf(controller, ci, [access("pull"), access("push")])).toBe("allowed");
    expect(await outcomeOf(controller, alice, [access("pull", "secret/x")])).toBe("allowed");
    expect(await outcomeOf(controller, alice, [CATALOG])).toBe("allowed");
  });

  test("refuse known users as denied, and the anonymous with a challenge", async () => {
    const { controller } = await open();
    const required = [access("pull"), access("push")];
    expect((await refusal(controller.authorize(alice, required))).outcome).toBe("denied");
    const refused = await refusal(controller.authorize(nobody, required));
    expect([refused.outcome, refused.challenge]).toEqual(["unauthenticated", 'Bearer realm="https://registry.test/v2/token",service="the realm",scope="repository:team/app:pull,push"']);
    expect(await outcomeOf(controller, ci, [CATALOG])).toBe("denied");
    expect(await outcomeOf(controller, ci, [access("pull"), access("push"), access("pull", "secret/x")])).toBe("denied");
    expect(await outcomeOf(controller, nobody, [access("pull"), access("pull", "secret/x")])).toBe("unauthenticated");
  });

  test("let nobody be refused otherwise than for a repository that does not exist", async () => {
    const { controller } = await open();
    const told = async (name: string): Promise<string> => (await refusal(controller.authorize(ci, [access("pull", name)]))).message.replaceAll(name, "");
    expect(await told("secret/there")).toBe(await told("secret/missing"));
  });

  test("send the anonymous for a token at the base", async () => {
    const { controller } = await open();
    expect((await refusal(controller.authorize(nobody, []))).challenge).toBe('Bearer realm="https://registry.test/v2/token",service="the realm"');
    expect(await outcomeOf(controller, ci, [])).toBe("allowed");
  });

  test("tell what lists may show", async () => {
    const { controller } = await open();
    const shown = async (who: typeof ci): Promise<readonly boolean[]> => {
      const { mayPull } = await controller.authorize(who, [access("pull", "public")]);
      return ["public", "secret/x", "team/app"].map((name) => mayPull?.(name as RepositoryName) === true);
    };
    expect(await shown(nobody)).toEqual([true, false, true]);
    expect(await shown(ci)).toEqual([true, false, true]);
    expect(await shown(alice)).toEqual([true, true, true]);
  });

  test("without anonymous ones ask for a password", async () => {
    const { controller } = await openWith(await entry("ci", "ci"), { rules: [{ users: ["ci"], actions: ["push"] }] });
    expect(controller.tokenEndpoint).toBeUndefined();
    expect((await refusal(controller.authorize(nobody, [access("pull")]))).challenge).toBe('Basic realm="the realm"');
    expect(await outcomeOf(controller, ci, [])).toBe("allowed");
  });

  test("follow a file of groups, which adds to those of the configuration", async () => {
    const groupsfile = join(folder.path, "groups");
    await writeFile(groupsfile, "staff: nobody\n");
    const { controller, parts } = await open({ groupsfile });
    expect(await outcomeOf(controller, alice, [access("pull", "secret/x")])).toBe("allowed");
    expect(await outcomeOf(controller, ci, [access("pull", "secret/x")])).toBe("denied");
    await writeFile(groupsfile, "staff: ci nobody\n");
    await parts.clock.advance(1_000);
    expect(await outcomeOf(controller, ci, [access("pull", "secret/x")])).toBe("allowed");
    await writeFile(groupsfile, "broken line");
    expect(await controller.reload?.()).toEqual([]);
    expect(await outcomeOf(controller, ci, [access("pull", "secret/x")])).toBe("allowed");
    await writeFile(groupsfile, "");
    expect(await controller.reload?.()).toEqual(["groups file"]);
    expect(await outcomeOf(controller, ci, [access("pull", "secret/x")])).toBe("denied");
  });

  test.each([
    ['found the group "unknown", expected one of auth.htpasswd.groups', { groups: ["unknown"] }],
    ["expected one of pull, push, delete, catalog, *", { actions: ["fly"] }],
    ["expected a glob of repository names, like team-a/** or library/*", { repositories: ["a b"] }],
  ])("that mean nothing are refused: %s", (message, rule) => {
    const { error } = AUTH_OPTIONS.safeParse({ htpasswd: { realm: "r", path: "/p", rules: [rule] } });
    expect(error?.issues.map((issue) => issue.message)).toEqual([message]);
  });
});

describe("tokens of our own", () => {
  const rules = [{ anonymous: true, actions: ["pull"] }, { repositories: ["team/**"], users: ["ci"], actions: ["push"] }, { repositories: ["secret/**"], users: ["ci"], actions: ["pull"] }, { users: ["ci"], actions: ["catalog"] }];
  const open = async (more: object = {}): Promise<Opened> => await openWith((await entry("ci", "ci")) + (await entry("bob", "bob")), { rules, ...more });

  async function ask({ controller }: Opened, parameters: Record<string, string>, authorization?: string): Promise<{ readonly status: number; readonly json: Readonly<Record<string, unknown>> }> {
    const answer = await controller.tokenEndpoint?.issue({ method: parameters["grant_type"] === undefined ? "GET" : "POST", authorization, clientAddress: "192.0.2.1", parameters: new URLSearchParams(parameters) });
    if (answer === undefined) throw new Error("no endpoint");
    return { status: answer.status, json: answer.json as Record<string, unknown> };
  }
  const bearer = async (opened: Opened, scope: string, authorization?: string): Promise<string> => `Bearer ${String((await ask(opened, { service: "the realm", scope }, authorization)).json["token"])}`;

  test("let the anonymous in where they may", async () => {
    const opened = await open();
    const header = await bearer(opened, "repository:team/app:pull");
    expect(await opened.controller.authorize(credentialsOf(header), [])).toMatchObject({ user: undefined });
    expect(await outcomeOf(opened.controller, credentialsOf(header), [access("pull")])).toBe("allowed");
  });

  test("are for what the rules allow of what was asked", async () => {
    const opened = await open();
    const claims = async (scope: string, authorization?: string): Promise<unknown> => payloadOf(await bearer(opened, scope, authorization))["access"];
    expect(await claims("repository:team/app:pull,push")).toEqual([{ type: "repository", name: "team/app", class: "", actions: ["pull"] }]);
    expect(await claims("repository:team/app:pull,push repository:secret/x:*", basicHeader("ci", "ci"))).toEqual([
      { type: "repository", name: "team/app", class: "", actions: ["pull", "push"] },
      { type: "repository", name: "secret/x", class: "", actions: ["pull"] },
    ]);
    expect(await claims("registry:catalog:*", basicHeader("ci", "ci"))).toEqual([{ type: "registry", name: "catalog", class: "", actions: ["*"] }]);
    expect(await claims("registry:catalog:* repository:secret/x:pull repository:BAD//:pull nonsense plugin:team/app:pull")).toEqual([]);
  });

  test("are refused for what they were not asked for, with what to ask for", async () => {
    const opened = await open();
    const header = await bearer(opened, "repository:team/app:pull", basicHeader("ci", "ci"));
    const refused = await refusal(opened.controller.authorize(credentialsOf(header), [access("pull"), access("push")]));
    expect([refused.outcome, refused.challenge]).toEqual(["unauthenticated", 'Bearer realm="https://registry.test/v2/token",service="the realm",scope="repository:team/app:pull,push",error="insufficient_scope"']);
  });

  test("end with their time, and the password that they were given for", async () => {
    const opened = await open({ tokenttl: "2m" });
    const header = credentialsOf(await bearer(opened, "repository:secret/x:pull", basicHeader("ci", "ci")));
    const required = [access("pull", "secret/x")];
    expect(await outcomeOf(opened.controller, header, required)).toBe("allowed");
    await opened.parts.clock.advance(2 * 60_000 + 59_000);
    expect(await outcomeOf(opened.controller, header, required)).toBe("allowed");
    await opened.parts.clock.advance(2_000);
    const expired = await refusal(opened.controller.authorize(header, required));
    expect([expired.outcome, expired.challenge?.endsWith('error="invalid_token"')]).toEqual(["unauthenticated", true]);

    const fresh = credentialsOf(await bearer(opened, "repository:secret/x:pull", basicHeader("ci", "ci")));
    expect(await outcomeOf(opened.controller, fresh, required)).toBe("allowed");
    await writeFile(opened.path, await entry("ci", "changed"));
    await opened.parts.clock.advance(1_000);
    expect(await outcomeOf(opened.controller, fresh, required)).toBe("unauthenticated");
  });

  test("are taken by every instance with the same secret, service and file, and by no other", async () => {
    const opened = await open();
    const header = credentialsOf(await bearer(opened, "repository:team/app:pull", basicHeader("ci", "ci")));
    const options = AUTH_OPTIONS.parse({ htpasswd: { realm: "the realm", path: opened.path, rules } });
    const twin = await openAccessController(options, testParts());
    expect(await outcomeOf(twin as AccessController, header, [access("pull")])).toBe("allowed");
    for (const secret of ["another", undefined]) {
      const stranger = await openAccessController(options, { ...testParts(), secret });
      expect(await outcomeOf(stranger as AccessController, header, [access("pull")])).toBe("unauthenticated");
    }
    const service = await openAccessController(AUTH_OPTIONS.parse({ htpasswd: { ...options.htpasswd, realm: "other", tokenttl: "5m", throttle: {} } }), testParts());
    expect(await outcomeOf(service as AccessController, header, [access("pull")])).toBe("unauthenticated");
  });

  test("that are forged, unsigned or of another algorithm are refused", async () => {
    const opened = await open();
    const token = (await bearer(opened, "repository:team/app:pull", basicHeader("ci", "ci"))).slice("Bearer ".length);
    const [head = "", body = "", signature = ""] = token.split(".");
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const forged = [`${encode({ alg: "none" })}.${body}.`, `${encode({ alg: "HS512" })}.${body}.${signature}`, `${head}.${encode({ ...payloadOf(token), sub: "root" })}.${signature}`, `${head}.${body}.`, `${head}.${body}`, "", "a.b.c", "x".repeat(10_000)];
    for (const each of forged) expect(await outcomeOf(opened.controller, credentialsOf(`Bearer ${each}`), [access("pull")])).toBe("unauthenticated");
  });

  test("come with what clients look for", async () => {
    const opened = await open({ tokenttl: "2m" });
    const { status, json } = await ask(opened, { scope: "repository:team/app:pull" });
    expect(status).toBe(200);
    expect(json).toEqual({ token: expect.any(String), access_token: json["token"], expires_in: 120, issued_at: "2026-01-02T03:04:05.000Z" });
  });

  test("are given for the form of containerd too", async () => {
    const opened = await open();
    const { json } = await ask(opened, { grant_type: "password", username: "ci", password: "ci", client_id: "containerd-client", service: "the realm", scope: "repository:team/app:pull,push" });
    expect(json).toMatchObject({ scope: "repository:team/app:pull,push", expires_in: 300 });
    expect(await outcomeOf(opened.controller, credentialsOf(`Bearer ${String(json["access_token"])}`), [access("push")])).toBe("allowed");
    expect(await ask(opened, { grant_type: "refresh_token", refresh_token: "x" })).toMatchObject({ status: 400, json: { error: "unsupported_grant_type" } });
    expect(await ask(opened, { grant_type: "password", username: "ci" })).toMatchObject({ status: 400, json: { error: "invalid_request" } });
  });

  test("that are good for many things are good again and again, and take up no memory", async () => {
    const opened = await open();
    const tokenOf = async (round: number): Promise<string> => {
      const parameters = new URLSearchParams();
      for (let index = 0; index < 64; index++) parameters.append("scope", `repository:${`team/${round}-${index}-`.padEnd(250, "a")}:pull`);
      const { json } = (await opened.controller.tokenEndpoint?.issue({ method: "GET", authorization: undefined, parameters, clientAddress: "192.0.2.1" })) ?? { json: {} };
      return `Bearer ${String((json as { token?: string }).token)}`;
    };
    const again = await tokenOf(0);
    for (let use = 0; use < 2; use++) expect(await outcomeOf(opened.controller, credentialsOf(again), [access("pull", "team/0-63-".padEnd(250, "a"))])).toBe("allowed");
    Bun.gc(true);
    const before = heapStats().heapSize;
    const ROUNDS = 600;
    for (let round = 1; round <= ROUNDS; round++) await opened.controller.authorize(credentialsOf(await tokenOf(round)), []);
    Bun.gc(true);
    // Kept, each would take some sixty thousand.
    const PER_TOKEN = 30_000;
    expect(heapStats().heapSize - before).toBeLessThan(ROUNDS * PER_TOKEN);
  });

  test("are refused with a wrong login, and slowed down like every other login", async () => {
    const opened = await open({ throttle: { failures: 1 } });
    for (const header of [basicHeader("ci", "wrong"), "Bearer x"]) {
      const refused = await refusal(ask(opened, {}, header) as Promise<never>);
      expect([refused.outcome, refused.challenge]).toEqual(["unauthenticated", 'Basic realm="the realm"']);
    }
    await refusal(ask(opened, { grant_type: "password", username: "bob", password: "wrong" }) as Promise<never>);
    expect((await refusal(ask(opened, {}, basicHeader("ci", "ci")) as Promise<never>)).outcome).toBe("throttled");
  });

  test("point to where the clients reach us", async () => {
    const path = join(folder.path, "based");
    await writeFile(path, await entry("ci", "ci"));
    const controller = await openAccessController(AUTH_OPTIONS.parse({ htpasswd: { realm: "r", path, rules } }), { ...testParts(), baseUrl: ({ scheme, host }) => `${scheme}://${host}/prefix` });
    expect((await refusal((controller as AccessController).authorize(credentialsOf(undefined), []))).challenge).toBe('Bearer realm="https://registry.test/prefix/v2/token",service="r"');
  });
});

describe("client certificates", () => {
  const certificate = { commonName: "robot", alternativeNames: ["robot@registry.test", "other"] };
  const shown = credentialsOf(undefined, { certificate });

  test("name the user by their common name, for the rules", async () => {
    const { controller } = await openWith(await entry("alice", "secret"), { rules: [{ users: ["robot"], actions: ["push"] }] }, { certificate: { enabled: true } });
    expect(await controller.authorize(shown, [access("pull"), access("push")])).toMatchObject({ user: "robot" });
    expect(await outcomeOf(controller, shown, [])).toBe("allowed");
    expect(await outcomeOf(controller, shown, [access("delete")])).toBe("denied");
  });
  test("name the user by the first alternative name where that is wanted", async () => {
    const { controller } = await openWith(await entry("alice", "secret"), {}, { certificate: { enabled: true, user: "san" } });
    expect(await controller.authorize(shown, [access("push")])).toEqual({ user: "robot@registry.test" });
    expect(await outcomeOf(controller, credentialsOf(undefined, { certificate: { commonName: "robot", alternativeNames: [] } }), [])).toBe("unauthenticated");
  });
  test("stand back behind a login, be it right or wrong", async () => {
    const { controller } = await openWith(await entry("alice", "secret"), {}, { certificate: { enabled: true } });
    expect(await controller.authorize(credentialsOf(basicHeader("alice", "secret"), { certificate }), [])).toEqual({ user: "alice" });
    expect(await outcomeOf(controller, credentialsOf(basicHeader("alice", "wrong"), { certificate }), [])).toBe("unauthenticated");
  });
  test("count for nothing unless they are turned on, or without a name", async () => {
    const off = await openWith(await entry("alice", "secret"));
    expect(await outcomeOf(off.controller, shown, [])).toBe("unauthenticated");
    const on = await openWith(await entry("alice", "secret"), {}, { certificate: { enabled: true } });
    for (const commonName of [undefined, ""]) expect(await outcomeOf(on.controller, credentialsOf(undefined, { certificate: { commonName, alternativeNames: ["x"] } }), [])).toBe("unauthenticated");
  });
  test("need a password file, for its rules", () => {
    expect(AUTH_OPTIONS.safeParse({ certificate: { enabled: true } }).error?.issues[0]?.message).toContain("needs auth.htpasswd");
  });
});

test("headers of noise are refused, and nothing else happens", async () => {
  const { controller } = await openWith(await entry("alice", "secret"), { rules: [{ anonymous: true }], throttle: { enabled: false } });
  let state = 12_345;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state % below;
  };
  const noise = (): string => Array.from({ length: random(40) }, () => String.fromCharCode(32 + random(224))).join("");
  for (let round = 0; round < 500; round++) {
    const text = noise();
    const header = [text, `Basic ${text}`, `Bearer ${text}`, `Bearer ${Buffer.from(text).toString("base64url")}.${Buffer.from(noise()).toString("base64url")}.${noise()}`, `basic ${Buffer.from(text).toString("base64").slice(0, random(50))}`][random(5)] ?? "";
    if (header.trim() === "" || /^basic .*[A-Za-z0-9]/i.test(header)) continue;
    expect(await outcomeOf(controller, credentialsOf(header), [access("push")])).toBe("unauthenticated");
  }
});

async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

function payloadOf(token: string): Readonly<Record<string, unknown>> {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as Record<string, unknown>;
}
