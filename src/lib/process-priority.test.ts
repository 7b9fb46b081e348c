import { expect, test } from "bun:test";
import { join } from "node:path";

test.if(process.platform === "linux")("lowerProcessPriority lowers every thread that the process has", async () => {
  const script = `
    const { lowerProcessPriority } = await import(${JSON.stringify(join(import.meta.dir, "process-priority.ts"))});
    const { readdirSync } = await import("node:fs");
    const { getPriority } = await import("node:os");
    lowerProcessPriority();
    console.log(JSON.stringify(readdirSync("/proc/self/task").map((thread) => getPriority(Number(thread)))));
  `;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit", env: process.env });
  const priorities = JSON.parse(await new Response(child.stdout).text()) as number[];
  expect(await child.exited).toBe(0);
  expect(priorities.length).toBeGreaterThan(1);
  expect(new Set(priorities)).toEqual(new Set([19]));
});
