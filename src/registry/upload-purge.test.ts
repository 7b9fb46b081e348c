import { describe, expect, test } from "bun:test";
import { digestOf } from "../oci/digest.ts";
import { parseName } from "../oci/name.ts";
import { blobData, BLOBS, REPOSITORIES, uploadData, uploadFolder, uploadStartedAt } from "./layout.ts";
import { bodyOf, SlowBody } from "./testing/bodies.ts";
import { settled } from "./testing/test-clock.ts";
import { codeOf, filesOf, NAME, openTestRegistry, pushImage, type TestRegistry } from "./testing/test-registry.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

async function upload(t: TestRegistry, name = NAME): Promise<string> {
  const { id } = await t.registry.uploads.start(name);
  await t.registry.uploads.append(name, id, bodyOf("hello"), {});
  return id;
}

function before(t: TestRegistry): Date {
  return new Date(t.clock.now() - DAY_MS);
}

describe("purging uploads", () => {
  test("deletes the old ones and no others", async () => {
    await using t = openTestRegistry();
    const nested = parseName("team/app/nested");
    const old = [await upload(t), await upload(t, nested)];
    await pushImage(t.registry, "a", { tags: ["latest"] });
    await t.clock.advance(2 * DAY_MS);
    const young = await upload(t);
    const files = (await filesOf(t.driver)).filter((path) => !old.some((id) => path.includes(id)));
    expect(await t.registry.purgeUploads({ olderThan: before(t), dryRun: true })).toEqual({ deleted: 2, errors: 0 });
    expect((await t.registry.uploads.status(NAME, old[0] ?? "")).sizeBytes).toBe(5);
    expect(await t.registry.purgeUploads({ olderThan: before(t), dryRun: false })).toEqual({ deleted: 2, errors: 0 });
    expect(await filesOf(t.driver)).toEqual(files);
    expect((await t.registry.uploads.status(NAME, young)).sizeBytes).toBe(5);
    expect(await t.registry.purgeUploads({ olderThan: before(t), dryRun: false })).toEqual({ deleted: 0, errors: 0 });
  });

  test("of an empty store finds nothing", async () => {
    await using t = openTestRegistry();
    expect(await t.registry.purgeUploads({ olderThan: before(t), dryRun: false })).toEqual({ deleted: 0, errors: 0 });
  });

  test("takes the age of an upload without a beginning from its files", async () => {
    await using t = openTestRegistry();
    const id = "0d1e2f3a-0000-4000-8000-000000000001";
    await t.driver.putContent(uploadData(NAME, id), "hello");
    await t.driver.putContent(`${uploadFolder(NAME, "0d1e2f3a-0000-4000-8000-000000000002")}/hashstates/sha256/0`, "state");
    expect((await t.registry.purgeUploads({ olderThan: new Date(Date.now() - DAY_MS), dryRun: false })).deleted).toBe(0);
    expect((await t.registry.purgeUploads({ olderThan: new Date(Date.now() + DAY_MS), dryRun: false })).deleted).toBe(2);
    expect(await filesOf(t.driver)).toEqual([]);
  });

  test("leaves alone what is no upload", async () => {
    await using t = openTestRegistry();
    const id = "0d1e2f3a-0000-4000-8000-000000000001";
    const old = "2020-01-01T00:00:00Z";
    await t.driver.putContent(`${uploadFolder(NAME, "not-a-uuid")}/startedat`, old);
    await t.driver.putContent(`${REPOSITORIES}/${NAME}/_other/${id}/startedat`, old);
    await t.driver.putContent(`${REPOSITORIES}/${NAME}/${id}/startedat`, old);
    const files = await filesOf(t.driver);
    expect(await t.registry.purgeUploads({ olderThan: before(t), dryRun: false })).toEqual({ deleted: 0, errors: 0 });
    expect(await filesOf(t.driver)).toEqual(files);
  });

  test("takes the age of an empty startedat from the file", async () => {
    await using t = openTestRegistry();
    const id = await upload(t);
    await t.driver.putContent(uploadStartedAt(NAME, id), "");
    expect((await t.registry.purgeUploads({ olderThan: new Date(Date.now() - DAY_MS), dryRun: false })).deleted).toBe(0);
    expect((await t.registry.purgeUploads({ olderThan: new Date(Date.now() + DAY_MS), dryRun: false })).deleted).toBe(1);
  });

  test("waits for an upload that is being written", async () => {
    await using t = openTestRegistry();
    const { id } = await t.registry.uploads.start(NAME);
    const body = new SlowBody();
    const writing = t.registry.uploads.append(NAME, id, body, {});
    await settled();
    await t.clock.advance(2 * DAY_MS);
    expect((await t.registry.purgeUploads({ olderThan: before(t), dryRun: false })).deleted).toBe(0);
    body.end();
    await writing;
    expect((await t.registry.purgeUploads({ olderThan: before(t), dryRun: false })).deleted).toBe(1);
    expect(await codeOf(t.registry.uploads.status(NAME, id))).toBe("BLOB_UPLOAD_UNKNOWN");
  });

  test("counts what fails and goes on with the rest", async () => {
    await using t = openTestRegistry();
    const ids = [await upload(t), await upload(t), await upload(t, parseName("other"))];
    await t.clock.advance(2 * DAY_MS);
    t.driver.before = ({ method, path }) => {
      if (method === "getContent" && path.includes(ids[0] ?? "-")) throw new Error("input/output error");
    };
    expect(await t.registry.purgeUploads({ olderThan: before(t), dryRun: false })).toEqual({ deleted: 2, errors: 1 });
    expect(t.log.filter(({ level }) => level === "error").map(({ fields }) => fields["path"])).toEqual([uploadFolder(NAME, ids[0] ?? "")]);
  });

  test("ends when it is told to", async () => {
    await using t = openTestRegistry();
    await upload(t);
    await t.clock.advance(2 * DAY_MS);
    expect((await t.registry.purgeUploads({ olderThan: before(t), dryRun: false, signal: AbortSignal.abort() })).deleted).toBe(0);
  });

  test("aborts old writes of uploads and blobs that only the store knows of", async () => {
    const aborted: string[] = [];
    const id = "0d1e2f3a-0000-4000-8000-000000000001";
    const unfinished = (path: string, startedAt: Date) => ({ path, startedAt, abort: async () => void aborted.push(path) });
    const paths = [uploadData(NAME, id), `${REPOSITORIES}/${NAME}/_other/data`, blobData(digestOf("old"))];
    await using t = openTestRegistry(
      {},
      {
        async *listUnfinished(folder) {
          for (const path of paths) if (path.startsWith(folder)) yield unfinished(path, new Date(0));
          yield unfinished(folder === BLOBS ? blobData(digestOf("young")) : uploadData(parseName("young"), id), new Date());
        },
      },
    );
    await t.registry.purgeUploads({ olderThan: before(t), dryRun: true });
    expect(aborted).toEqual([]);
    await t.registry.purgeUploads({ olderThan: before(t), dryRun: false });
    expect(aborted).toEqual([uploadData(NAME, id), blobData(digestOf("old"))]);
  });
});
