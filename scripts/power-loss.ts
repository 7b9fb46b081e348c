/*
 * Looks whether what a registry acknowledged survives a loss of power, on file systems of its own:
 *
 *   bun scripts/power-loss.ts [--make "mkfs.ext4 -q"]… [--rounds 4] [--seconds 3]
 *
 * Takes root on Linux, loop devices, and 1 GiB of memory. A disk image is mounted, and two processes push to one store on it; or, every
 * other round, one process that pauses after each push, so that nothing but its own care wrote what it acknowledged last. In the
 * middle of that they are stopped and the image is copied as it is: what the kernel was not made to write is missing in the copy, as
 * after a loss of power. The copy is mounted, and each blob, manifest and tag that was acknowledged is looked for. Ends with 1 when
 * one is not there.
 */
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SYSTEM_CLOCK } from "../src/lib/clock.ts";
import { type Digest, digestOf } from "../src/oci/digest.ts";
import { MEDIA_TYPES } from "../src/oci/media-types.ts";
import { parseName, parseTag, type RepositoryName } from "../src/oci/name.ts";
import { blobData, layerLink, revisionLink, tagCurrentLink } from "../src/registry/layout.ts";
import { type LocalRegistry, openLocalRegistry } from "../src/registry/local-registry.ts";
import { openFilesystemDriver } from "../src/storage/filesystem/driver.ts";
import { SILENT_LOGGER } from "../src/telemetry/log.ts";

const { values: options } = parseArgs({
  options: {
    make: { type: "string", multiple: true, default: ["mkfs.ext4 -q", "mkfs.xfs -q -f"] },
    rounds: { type: "string", default: "4" },
    seconds: { type: "string", default: "3" },
    /** Of the processes that push. */
    store: { type: "string" },
    number: { type: "string", default: "0" },
    alone: { type: "boolean", default: false },
  },
});

const WRITERS = 2;
const PUSHES_AT_ONCE = 3;
const PAUSE_MS = 200;
const TAG = parseTag("latest");

/** One line of a process that pushes. */
interface Acknowledgement {
  readonly name: RepositoryName;
  readonly kind: "blob" | "manifest";
  readonly digest: Digest;
}

if (options.store !== undefined) await pushForEver(options.store, Number(options.number));
else process.exitCode = (await tryAll()) ? 0 : 1;

async function pushForEver(rootdirectory: string, number: number): Promise<void> {
  const validation = { enabled: true, urls: { allow: [], deny: [] }, indexes: { platforms: "all", platformList: [] }, sparseImages: false } as const;
  const registry = openLocalRegistry({ driver: openFilesystemDriver({ rootdirectory }), log: SILENT_LOGGER, clock: SYSTEM_CLOCK, deleteEnabled: true, redirectEnabled: false, validation, tagConcurrency: 4 });
  await Promise.all(Array.from({ length: options.alone ? 1 : PUSHES_AT_ONCE }, (_, pusher) => pushImages(registry, `p${number}-${pusher}`)));
}

async function pushImages(registry: LocalRegistry, pusher: string): Promise<never> {
  for (let round = 0; ; round++) {
    const name = parseName(`${pusher}/r${round % 7}/n${Math.floor(round / 3)}`);
    const layer = Buffer.from(`layer ${pusher} ${round} `.repeat(round % 5 === 0 ? 40_000 : 10));
    // Of all pushers, at about the same time.
    const config = Buffer.from(`{"shared":${Math.floor(round / 4)}}`);
    for (const bytes of [layer, config]) await acknowledge({ name, kind: "blob", digest: await pushBlob(registry, name, bytes, round % 2 === 0) });
    const descriptor = (mediaType: string, bytes: Uint8Array): object => ({ mediaType, digest: digestOf(bytes), size: bytes.length });
    const image = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config: descriptor(MEDIA_TYPES.ociConfig, config), layers: [descriptor(MEDIA_TYPES.ociLayer, layer)] };
    const { digest } = await registry.manifests.put(name, { bytes: Buffer.from(JSON.stringify(image)), contentType: undefined, digest: undefined, tags: [TAG] });
    await acknowledge({ name, kind: "manifest", digest });
  }
}

async function pushBlob(registry: LocalRegistry, name: RepositoryName, bytes: Uint8Array, inPieces: boolean): Promise<Digest> {
  const digest = digestOf(bytes);
  const body = async function* (): AsyncGenerator<Uint8Array> {
    // The registry frees the chunks that it is given.
    yield new Uint8Array(bytes);
  };
  if (!inPieces) return (await registry.uploads.put(name, body(), digest)).digest;
  const { id } = await registry.uploads.start(name);
  await registry.uploads.append(name, id, body(), {});
  return (await registry.uploads.finish(name, id, undefined, { digest })).digest;
}

async function acknowledge(line: Acknowledgement): Promise<void> {
  writeSync(1, `${JSON.stringify(line)}\n`);
  if (options.alone) await Bun.sleep(PAUSE_MS);
}

async function tryAll(): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), "power-loss-"));
  using cleanup = new DisposableStack();
  cleanup.defer(() => rmSync(folder, { recursive: true }));
  const [memory, disk] = [join(folder, "memory"), join(folder, "disk")];
  for (const each of [memory, disk]) mkdirSync(each);
  run("mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", memory);
  cleanup.defer(() => run("umount", memory));
  let lost = 0;
  for (const make of options.make) {
    for (let round = 1; round <= Number(options.rounds); round++) {
      const found = await losePower(make, { image: join(memory, "image"), copy: join(memory, "copy"), disk }, round % 2 === 0);
      console.log(`${make}, round ${round}: ${found.acknowledged} acknowledged, ${found.lost.length} lost`);
      for (const line of found.lost.slice(0, 5)) console.log(`  ${line}`);
      lost += found.lost.length;
    }
  }
  return lost === 0;
}

async function losePower(make: string, { image, copy, disk }: Record<"image" | "copy" | "disk", string>, alone: boolean): Promise<{ readonly acknowledged: number; readonly lost: readonly string[] }> {
  for (const each of [image, copy]) rmSync(each, { force: true });
  run("truncate", "-s", "400M", image);
  run(...make.split(" "), image);
  const store = join(disk, "registry");
  const lines = await whileMounted(image, disk, async () => {
    run("sync");
    const outputs = Array.from({ length: alone ? 1 : WRITERS }, (_, number) => `${copy}.${number}.lines`);
    const command = [process.execPath, import.meta.path, "--store", store, ...(alone ? ["--alone"] : [])];
    const writers = outputs.map((output, number) => startWriter([...command, "--number", String(number)], output));
    await Bun.sleep(Number(options.seconds) * 1000);
    for (const writer of writers) writer.kill("SIGSTOP");
    const texts = outputs.map((output) => readFileSync(output, "latin1"));
    run("cp", "--sparse=always", image, copy);
    for (const writer of writers) writer.kill("SIGKILL");
    await Promise.all(writers.map((writer) => writer.exited));
    for (const output of outputs) rmSync(output);
    return texts.flatMap((text) => text.slice(0, text.lastIndexOf("\n")).split("\n"));
  });
  return await whileMounted(copy, disk, async () => ({ acknowledged: lines.length, lost: lines.flatMap((line) => missingOf(store, JSON.parse(line) as Acknowledgement)) }));
}

function startWriter(command: string[], output: string): Bun.Subprocess {
  const stdout = openSync(output, "w");
  try {
    return Bun.spawn(command, { stdout, stderr: "inherit" });
  } finally {
    closeSync(stdout);
  }
}

/** What is not there of something that was acknowledged. */
function missingOf(store: string, { name, kind, digest }: Acknowledgement): string[] {
  const links = kind === "blob" ? [layerLink(name, digest)] : [revisionLink(name, digest), tagCurrentLink(name, TAG)];
  const problems: string[] = [];
  const check = (path: string, isRight: (bytes: Uint8Array) => boolean): void => {
    try {
      if (!isRight(readFileSync(join(store, path)))) problems.push(`${path} holds something else`);
    } catch (error) {
      problems.push(String(error));
    }
  };
  check(blobData(digest), (bytes) => digestOf(bytes) === digest);
  // The tag may have been moved on since.
  for (const link of links) check(link, (bytes) => bytes.length === digest.length);
  return problems;
}

async function whileMounted<T>(image: string, disk: string, work: () => Promise<T>): Promise<T> {
  run("mount", "-o", "loop", image, disk);
  try {
    return await work();
  } finally {
    run("umount", disk);
  }
}

function run(...command: readonly string[]): void {
  const { success, stderr } = Bun.spawnSync([...command]);
  if (!success) throw new Error(`${command.join(" ")}: ${stderr.toString().trim()}`);
}
