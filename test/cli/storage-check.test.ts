import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { startCeph } from "../support/ceph.ts";
import { tryCommand } from "../support/command.ts";
import { s3Section } from "../support/s3-server.ts";
import { describeWith } from "../support/services.ts";
import { tempFolder } from "../support/temp-folder.ts";

const BINARY = process.env["REGISTRY_TEST_BINARY"] ?? join(import.meta.dir, "../../dist/registry");

async function check(storage: object, ...flags: readonly string[]): Promise<{ readonly exitCode: number; readonly output: string }> {
  await using folder = await tempFolder();
  const file = join(folder.path, "config.yml");
  await Bun.write(file, stringify({ version: 0.1, storage }));
  const { exitCode, stdout, stderr } = await tryCommand([BINARY, "storage-check", ...flags, file]);
  return { exitCode, output: stdout + stderr };
}

describe("registry storage-check", () => {
  test("finds nothing wrong with a folder, and leaves it as it was", async () => {
    await using folder = await tempFolder();
    const { exitCode, output } = await check({ filesystem: { rootdirectory: folder.path } });
    expect({ exitCode, wrong: output.split("\n").filter((line) => line !== "" && !line.startsWith("ok ")) }).toEqual({ exitCode: 0, wrong: [] });
    expect(await readdir(join(folder.path, "docker"))).toEqual([]);
  });

  test("says what fails, and leaves out what depends on it", async () => {
    await using folder = await tempFolder();
    await Bun.write(join(folder.path, "docker"), "a file in the way");
    const { exitCode, output } = await check({ filesystem: { rootdirectory: folder.path } });
    expect(exitCode).toBe(1);
    expect(output).toMatch(/failed {3}put: filesystem: ENOTDIR/);
    expect(output).toContain("look at: writing objects");
    expect(output).toContain("skipped  get");
    expect(await Bun.file(join(folder.path, "docker")).text()).toBe("a file in the way");
  });

  test("speaks JSON", async () => {
    const { exitCode, output } = await check({ inmemory: {} }, "--json");
    const results = JSON.parse(output) as { action: string; outcome: string }[];
    expect(exitCode).toBe(0);
    expect(results.map(({ action }) => action)).toContain("move");
    expect(new Set(results.map(({ outcome }) => outcome))).toEqual(new Set(["ok"]));
  });
});

describeWith(["ceph"], "registry storage-check on S3", () => {
  test("tries multipart uploads and signed URLs, and shows no key", async () => {
    await using ceph = await startCeph();
    const bucket = "checked";
    await ceph.createBucket(bucket);
    const right = await check({ s3: s3Section(ceph, bucket) });
    expect(right).toMatchObject({ exitCode: 0, output: expect.stringMatching(/ok {7}signed URL, GET[\s\S]*ok {7}signed URL, HEAD[\s\S]*ok {7}list unfinished uploads[\s\S]*ok {7}delete/) });
    const wrong = await check({ s3: s3Section({ ...ceph, secretKey: "not-the-secret" }, bucket) });
    expect(wrong.exitCode).toBe(1);
    expect(wrong.output).toMatch(/failed {3}put: .*(SignatureDoesNotMatch|403)/);
    expect(wrong.output).not.toContain("not-the-secret");
    const missing = await check({ s3: s3Section(ceph, "no-such-bucket") });
    expect(missing.output).toMatch(/failed {3}put: .*(NoSuchBucket|404)/);
    expect(existsSync("docker")).toBe(false);
  }, 60_000);
});
