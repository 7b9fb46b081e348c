/*
 * A program that writes with the filesystem driver, for tests that end it at any moment or look at its system calls:
 *   bun filesystem-writer.ts <root> for-ever     writes until it is killed
 *   bun filesystem-writer.ts <root> once         writes one file in each way, and deletes two
 */
import { openFilesystemDriver } from "../../src/storage/filesystem/driver.ts";

const [rootdirectory = "", mode = ""] = process.argv.slice(2);
const driver = openFilesystemDriver({ rootdirectory });

if (mode === "once") await writeOnce();
else {
  console.log("writing");
  await Promise.all([replaceLinks(), createBlobs(), uploadBlobs()]);
}

async function writeOnce(): Promise<void> {
  await driver.putContent("/repo/link", "x");
  await using created = await driver.create("/blobs/created/data");
  await created.write(new Uint8Array(100_000));
  await created.commit();
  await using written = await driver.writer("/up/data", { append: false });
  await written.write(new Uint8Array(100_000));
  await written.commit();
  await driver.move("/up/data", "/blobs/moved/data");
  await driver.delete("/repo/link");
  await driver.delete("/blobs/created", { durable: false });
}

async function replaceLinks(): Promise<never> {
  for (let round = 0; ; round++) await driver.putContent(`/links/${round % 7}/link`, `sha256:${String(round % 10).repeat(64)}`);
}

async function createBlobs(): Promise<never> {
  for (let round = 0; ; round++) {
    const content = new Uint8Array(1 + ((round * 7_919) % 300_000)).fill(round);
    await using writer = await driver.create(`/blobs/${Bun.hash(content).toString(16)}/data`);
    for (let offset = 0; offset < content.length; offset += 100_000) await writer.write(content.subarray(offset, offset + 100_000));
    await writer.commit();
  }
}

async function uploadBlobs(): Promise<never> {
  for (let round = 0; ; round++) {
    const content = new Uint8Array(1 + ((round * 6_007) % 200_000)).fill(round + 1);
    const writer = await driver.writer("/up/data", { append: false });
    await writer.write(content);
    await writer.commit();
    await driver.move("/up/data", `/blobs/${Bun.hash(content).toString(16)}/data`);
  }
}
