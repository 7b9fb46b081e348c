import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { stringify } from "yaml";
import { type TempFolder, tempFolder } from "../../test/support/temp-folder.ts";
import { run } from "./run.ts";

let folder: TempFolder;
beforeAll(async () => {
  folder = await tempFolder();
  await Bun.write(join(folder.path, "htpasswd"), `alice:$2y$04$${"a".repeat(53)}\nold:{SHA}x\n`);
  await Bun.write(join(folder.path, "groups"), "admins: root\n");
});
afterAll(async () => await folder[Symbol.asyncDispose]());

const RULES = [
  { anonymous: true, actions: ["pull"] },
  { repositories: ["team-a/**"], users: ["ci"], actions: ["push"] },
  { repositories: ["secret/**"], users: ["alice"], actions: ["pull"] },
  { groups: ["admins"], actions: ["delete", "catalog"] },
];

async function accessCheck(auth: object, ...args: readonly string[]): Promise<{ readonly status: number; readonly out: string; readonly err: string }> {
  const file = join(folder.path, "config.yml");
  await Bun.write(file, stringify({ version: 0.1, storage: { inmemory: {} }, auth }));
  let out = "";
  let err = "";
  const status = await run(["access-check", file, ...args], { env: {}, isTerminal: false, stdout: (text) => void (out += text), stderr: (text) => void (err += text) });
  return { status, out, err };
}

const htpasswd = (rules: readonly object[]): object => ({ htpasswd: { realm: "r", path: join(folder.path, "htpasswd"), groupsfile: join(folder.path, "groups"), rules } });

describe("registry access-check", () => {
  const cases: readonly (readonly [readonly string[], number, string])[] = [
    [["-", "pull", "team-a/app"], 0, "allowed: the anonymous may pull from team-a/app\n  auth.htpasswd.rules[0] (**) allows it: no rule about pull with a more specific glob stands against it\n"],
    [["ci", "push", "team-a/app"], 0, "allowed: ci may push to team-a/app\n  auth.htpasswd.rules[1] (team-a/**) allows it: no rule about push with a more specific glob stands against it\n"],
    [["alice", "pull", "secret/x"], 0, "allowed: alice may pull from secret/x\n  auth.htpasswd.rules[2] (secret/**) allows it: no rule about pull with a more specific glob stands against it\n"],
    [["bob", "pull", "secret/x"], 1, "refused: bob may not pull from secret/x\n  auth.htpasswd.rules[2] (secret/**) decides and does not name bob\n  auth.htpasswd.rules[0] (**) would have allowed it, with a less specific glob\n"],
    [["bob", "push", "other"], 1, "refused: bob may not push to other\n  no rule speaks of push for other: what no rule allows is refused\n"],
    [["root", "delete", "other"], 0, "allowed: root may delete from other\n  auth.htpasswd.rules[3] (**) allows it: no rule about delete with a more specific glob stands against it\n"],
    [["root", "catalog"], 0, "allowed: root may list the catalog\n  auth.htpasswd.rules[3] opens the catalog to them; it shows what they may pull\n"],
    [["-", "catalog"], 1, "refused: the anonymous may not list the catalog\n  auth.htpasswd.rules[3] decides and does not name the anonymous\n"],
  ];
  test.each(cases)("%p: status %p", async (args, status, out) => {
    const result = await accessCheck(htpasswd(RULES), ...args);
    expect(result.out).toBe(out);
    expect(result.status).toBe(status);
  });

  test("tells that who may push may pull", async () => {
    const { out } = await accessCheck(htpasswd([{ users: ["ci"], actions: ["push"] }]), "ci", "pull", "x");
    expect(out).toContain(", and who may push may also pull\n");
  });
  test("notes users that the password file does not have, and not those that it has", async () => {
    expect((await accessCheck(htpasswd(RULES), "alice", "pull", "x")).err).toBe("");
    for (const user of ["bob", "old"]) expect((await accessCheck(htpasswd(RULES), user, "pull", "x")).err).toContain(`has no usable entry of ${user}`);
  });
  test("without rules lets users do everything and the anonymous nothing", async () => {
    expect(await accessCheck(htpasswd([]), "alice", "delete", "x")).toMatchObject({ status: 0 });
    expect(await accessCheck(htpasswd([]), "-", "pull", "x")).toMatchObject({ status: 1 });
  });
  test("without authorization allows everything", async () => expect(await accessCheck({}, "-", "delete", "x")).toMatchObject({ status: 0 }));
  test("says that a token server decides", async () => {
    const { status, err } = await accessCheck({ token: { realm: "https://tokens.test/token", service: "s", issuer: "i", jwks: "/jwks" } }, "alice", "pull", "x");
    expect({ status, err }).toEqual({ status: 1, err: "access-check: the token server https://tokens.test/token decides, not this configuration\n" });
  });
  test.each([
    [["bob", "fly", "x"], "found the action"],
    [["bob", "pull"], "found the repository"],
    [["bob", "pull", "X//y"], "found the repository"],
  ])("refuses %p", async (args, message) => {
    const { status, err } = await accessCheck(htpasswd(RULES), ...args);
    expect(err).toContain(message);
    expect(status).toBe(1);
  });
});
