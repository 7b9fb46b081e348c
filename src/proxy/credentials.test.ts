import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, SILENT_LOGGER } from "../telemetry/log.ts";
import { type CredentialSource, helperCredentials } from "./credentials.ts";
import { ManualClock } from "./testing/open-test-proxy.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "credentials-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const CLOCK = new ManualClock();

function helper(script: string, lifetimeMs?: number, log: Logger = SILENT_LOGGER): CredentialSource {
  const command = join(folder, "helper");
  writeFileSync(command, `#!/bin/sh\necho "$1 $(cat)" >> ${folder}/calls\n${script}\n`);
  chmodSync(command, 0o755);
  return helperCredentials({ command, lifetimeMs, host: "registry.test:5000", clock: CLOCK, log });
}

function calls(): string[] {
  return existsSync(join(folder, "calls")) ? readFileSync(join(folder, "calls"), "utf8").trim().split("\n") : [];
}

const GOOD = `echo '{"ServerURL":"x","Username":"ann","Secret":"pw"}'`;

describe("helperCredentials", () => {
  test("asks the helper for the upstream's host, once for callers at a time and for ever", async () => {
    const source = helper(GOOD);
    expect(await Promise.all([source(), source()])).toEqual([{ username: "ann", password: "pw" }, { username: "ann", password: "pw" }]);
    CLOCK.advance(1e9);
    await source();
    expect(calls()).toEqual(["get registry.test:5000"]);
  });

  test("asks for every use with a lifetime of 0, and again after a longer one", async () => {
    const always = helper(GOOD, 0);
    await always();
    await always();
    expect(calls().length).toBe(2);
    const hourly = helper(GOOD, 3_600_000);
    await hourly();
    CLOCK.advance(3_599_000);
    await hourly();
    expect(calls().length).toBe(3);
    CLOCK.advance(2_000);
    await hourly();
    expect(calls().length).toBe(4);
  });

  test.each([
    ["exit 3", "status 3"],
    ["echo secret-of-mine", "not JSON"],
    [`echo '{"Username":"ann"}'`, "lacks Username or Secret"],
  ])("goes without credentials when the helper fails (%s), says why but not what it printed, and asks again", async (script, reason) => {
    const lines: string[] = [];
    const source = helper(script, undefined, { ...SILENT_LOGGER, error: (message, fields) => lines.push(`${message} ${JSON.stringify(fields)}`) });
    expect(await source()).toBeUndefined();
    expect(await source()).toBeUndefined();
    expect(lines.length).toBe(2);
    expect(lines[0]).toContain(reason);
    expect(lines[0]).not.toContain("secret-of-mine");
  });

  test("goes without credentials when there is no helper", async () => {
    expect(await helperCredentials({ command: join(folder, "none"), lifetimeMs: undefined, host: "h", clock: CLOCK, log: SILENT_LOGGER })()).toBeUndefined();
  });
});
