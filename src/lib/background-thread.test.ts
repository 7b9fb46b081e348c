import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Fields of a thread's `stat` after its name, see proc(5). */
const FIELDS = { nice: 16, policy: 38 };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "background-thread-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

test.if(process.platform === "linux")("moves the calling thread to the background, and no other", async () => {
  // In a process of its own: there is no way back.
  const script = `
    const { moveThreadToBackground } = require(${JSON.stringify(join(import.meta.dir, "background-thread.ts"))});
    const { readFileSync } = require("node:fs");
    const fieldsOf = (file) => readFileSync(file, "utf8").replace(/^.*\\) /, "").split(" ");
    if (Bun.isMainThread) {
      const worker = new Worker(__filename);
      worker.onmessage = ({ data }) => { console.log(JSON.stringify([data, fieldsOf("/proc/thread-self/stat")])); process.exit(0); };
    } else {
      moveThreadToBackground();
      postMessage(fieldsOf("/proc/thread-self/stat"));
    }`;
  const file = join(folder, "probe.cjs");
  await Bun.write(file, script);
  const child = Bun.spawn([process.execPath, file], { stdout: "pipe", stderr: "inherit" });
  const [background, main] = JSON.parse(await new Response(child.stdout).text()) as [string[], string[]];
  expect([background[FIELDS.nice], background[FIELDS.policy]]).toEqual(["19", "5"]);
  expect(main[FIELDS.policy]).toBe("0");
}, 60_000);
