import { describe, expect, test } from "bun:test";
import { chmod, readdir, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import { type CommandResult, tryCommand } from "../../test/support/command.ts";
import { tempFolder } from "../../test/support/temp-folder.ts";
import { parsePasswords } from "../auth/htpasswd/password-file.ts";

const MAIN = join(import.meta.dir, "../main.ts");

async function htpasswd(args: readonly string[], stdin?: string | Uint8Array): Promise<CommandResult> {
  return await tryCommand([process.execPath, MAIN, "htpasswd", ...args], stdin === undefined ? {} : { stdin });
}

async function accepts(file: string, user: string, password: string): Promise<boolean> {
  const hash = parsePasswords(await Bun.file(file).text()).hashes.get(user);
  return hash !== undefined && (await Bun.password.verify(password, hash));
}

describe("registry htpasswd", () => {
  test("makes a file for its owner alone, with a bcrypt entry of the wanted cost", async () => {
    await using folder = await tempFolder();
    const file = join(folder.path, "htpasswd");
    const result = await htpasswd(["-B", "-C", "4", file, "alice"], "pässwörd\nnot this line\n");
    expect(result).toEqual({ exitCode: 0, stdout: "", stderr: "added the password of user alice\n" });
    expect(await Bun.file(file).text()).toMatch(/^alice:\$2y\$04\$[./A-Za-z0-9]{53}\n$/);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await accepts(file, "alice", "pässwörd")).toBe(true);
  });

  test("changes one entry and keeps comments, other lines, mode and links", async () => {
    await using folder = await tempFolder();
    const [file, link] = [join(folder.path, "real"), join(folder.path, "link")];
    await Bun.write(file, "# users\r\nbob:$apr1$x$y\r\n\r\nalice:old\r\ncarol:{SHA}z\r\nalice:older");
    await chmod(file, 0o640);
    await symlink(file, link);
    expect((await htpasswd(["-C", "4", link, "alice"], "secret\r\n")).stderr).toBe("changed the password of user alice\n");
    const lines = (await Bun.file(file).text()).split("\r\n");
    expect(lines.map((line) => line.replace(/\$2y\$.*/, "bcrypt"))).toEqual(["# users", "bob:$apr1$x$y", "", "alice:bcrypt", "carol:{SHA}z", ""]);
    expect((await stat(file)).mode & 0o777).toBe(0o640);
    expect(await accepts(file, "alice", "secret")).toBe(true);
    expect((await readdir(folder.path)).sort()).toEqual(["link", "real"]);
  });

  test("loses nothing when many edit at once", async () => {
    await using folder = await tempFolder();
    const file = join(folder.path, "htpasswd");
    const users = ["a", "b", "c", "d"];
    await Promise.all(users.map(async (user) => await htpasswd(["-C", "4", file, user], user)));
    expect([...parsePasswords(await Bun.file(file).text()).hashes.keys()].sort()).toEqual(users);
  });

  test("-n prints the entry and changes nothing", async () => {
    const { stdout, exitCode } = await htpasswd(["-nC", "4", "alice"], "secret");
    expect(stdout).toMatch(/^alice:\$2y\$04\$/);
    expect(exitCode).toBe(0);
  });

  test("-D takes a user out", async () => {
    await using folder = await tempFolder();
    const file = join(folder.path, "htpasswd");
    await Bun.write(file, "alice:x\nbob:y\n");
    expect((await htpasswd(["-D", file, "alice"])).exitCode).toBe(0);
    expect(await Bun.file(file).text()).toBe("bob:y\n");
    expect(await htpasswd(["-D", file, "alice"])).toMatchObject({ exitCode: 1, stderr: `htpasswd: ${file} has no user alice\n` });
  });

  test("does not show what is typed", async () => {
    await using folder = await tempFolder();
    const file = join(folder.path, "htpasswd");
    const { exitCode, output } = await typed(["-C", "4", file, "alice"], ["secx\u007fret\r", "secret\r"]);
    expect(exitCode).toBe(0);
    expect(output).toBe("New password: \r\nRe-type new password: \r\nadded the password of user alice\r\n");
    expect(await accepts(file, "alice", "secret")).toBe(true);
  });

  test("refuses two typed passwords that differ, and stops at ctrl-c", async () => {
    await using folder = await tempFolder();
    const file = join(folder.path, "htpasswd");
    expect((await typed([file, "alice"], ["one\r", "two\r"])).output).toContain("the passwords differ; nothing was changed");
    expect((await typed([file, "alice"], ["one\u0003"])).exitCode).toBe(130);
    expect(await Bun.file(file).exists()).toBe(false);
  });

  test.each([
    ["a:b", "secret", "found the user name"],
    ["#a", "secret", "found the user name"],
    [" a", "secret", "found the user name"],
    ["alice", "", "the password is empty"],
    ["alice", "x".repeat(73), "bcrypt looks at 72 at most"],
  ])("refuses the user %p with the password %p", async (user, password, message) => {
    const { exitCode, stderr } = await htpasswd(["-n", user], password);
    expect(stderr).toContain(message);
    expect(exitCode).toBe(1);
  });

  test.each(["3", "18", "x", "1e1"])("refuses the cost %p", async (cost) => {
    expect((await htpasswd(["-n", "-C", cost, "alice"], "secret")).stderr).toContain("expected a whole number from 4 to 17");
  });

  test("names the file that it cannot write", async () => {
    const { exitCode, stderr } = await htpasswd(["-C", "4", "/nonexistent/htpasswd", "alice"], "secret");
    expect(stderr).toContain("/nonexistent/htpasswd");
    expect(exitCode).toBe(1);
  });
});

/** Runs the command on a terminal of its own and types an answer to each prompt. */
async function typed(args: readonly string[], answers: readonly string[]): Promise<{ readonly exitCode: number; readonly output: string }> {
  let output = "";
  let prompts = 0;
  const child = Bun.spawn([process.execPath, MAIN, "htpasswd", ...args], {
    terminal: {
      data(terminal, bytes) {
        output += Buffer.from(bytes).toString();
        for (; prompts < answers.length && (output.match(/password: /g)?.length ?? 0) > prompts; prompts++) terminal.write(answers[prompts] ?? "");
      },
    },
  });
  const exitCode = await child.exited;
  child.terminal?.close();
  return { exitCode, output };
}
