import { expect, test } from "bun:test";
import { run } from "../../src/cli/run.ts";
import { DiskStore } from "./disk-store.ts";

test("on a terminal garbage-collect and verify show how far they are, with counts, bytes and rate", async () => {
  await using store = await DiskStore.make();
  store.image("a", "1", { tag: "t" });
  for (let number = 0; number < 3; number++) store.blob("a", `orphan ${number}`.padEnd(1_000_000));
  let [stdout, stderr] = ["", ""];
  const context = { env: {}, isTerminal: true, stdout: (text: string) => void (stdout += text), stderr: (text: string) => void (stderr += text) };
  expect(await run(["verify", store.config()], context)).toBe(0);
  expect(stderr).toMatch(/\r6 blobs, 0\.00 GB, \d+ MB\/s \n$/);
  stderr = "";
  expect(await run(["garbage-collect", store.config()], context)).toBe(0);
  expect(stderr).toMatch(/\r\[#{30}\] 3\/3 3\.0 MB freed, \d+\.\d MB\/s \n$/);
  expect(stdout).toContain("3 blobs marked, 3 blobs and 0 manifests eligible for deletion\n");
});
