import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { getPriority, tmpdir } from "node:os";
import { join } from "node:path";
import { startChild } from "../support/child.ts";
import { runCommand } from "../support/command.ts";
import { registryCommand } from "../support/registry-process.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "priority-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Of all threads of a process, each once. */
function prioritiesOf(pid: number): string {
  return [...new Set(readdirSync(`/proc/${pid}/task`).map((thread) => getPriority(Number(thread))))].sort().join();
}

for (const [command, priority] of [["garbage-collect", 19], ["retention", 19], ["verify", 19], ["config-check", getPriority()]] as const) {
  test.if(process.platform === "linux")(`${command} runs with priority ${priority}`, async () => {
    // It waits for its configuration as long as nobody writes one.
    const config = join(folder, `${command}.yml`);
    await runCommand(["mkfifo", config]);
    await using child = startChild([...registryCommand(), command, config]);
    const deadline = Date.now() + 10_000;
    while (prioritiesOf(child.pid) !== String(priority) && Date.now() < deadline) await Bun.sleep(20);
    expect(prioritiesOf(child.pid)).toBe(String(priority));
    writeFileSync(config, "version: none\n");
    expect(await child.exited).toBe(1);
    expect(child.output()).toContain("version");
  });
}
