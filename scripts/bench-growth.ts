/*
 * Shows how what a request costs changes with the size of the registry: that many repositories, tags of one repository, blobs, and
 * referrers of one manifest, on the filesystem, on loopback:
 *
 *   bun scripts/bench-growth.ts [--ours dist/registry] [--sizes 100,1000,10000] [--seconds 2] [--folder /tmp] [--json FILE]
 *
 * One row a size. Each rate is of 4 clients, after a second of warming up; pushes are of small images by 8 clients.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type Digest, digestOf } from "../src/oci/digest.ts";
import { parseName, parseTag, type RepositoryName } from "../src/oci/name.ts";
import { blobData, layerLink, referrerLink, referrersIndexed, revisionLink, tagCurrentLink, tagIndexLink } from "../src/registry/layout.ts";
import { benchFolder, registryContender, type Server } from "./bench/contender.ts";
import { hammer, runClient } from "./bench/load.ts";
import { machine } from "./bench/report.ts";

const IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json";
const IMAGES_PUSHED = 200;

const { values: options } = parseArgs({
  options: {
    ours: { type: "string", default: join(import.meta.dir, "../dist/registry") },
    sizes: { type: "string", default: "100,1000,10000" },
    seconds: { type: "string", default: "2" },
    folder: { type: "string", default: tmpdir() },
    json: { type: "string" },
  },
});

const MEASURED = ["push, images/s", "pull by tag, 1/s", "blob, 1/s", "tags page, 1/s", "catalog page, 1/s", "referrers page, 1/s", "memory, MiB"] as const;
type Row = Readonly<Record<(typeof MEASURED)[number], number>>;

await main();

async function main(): Promise<void> {
  const sizes = options.sizes.split(",").map(Number);
  if (!sizes.every((size) => Number.isInteger(size) && size >= 100)) throw new Error(`--sizes: found "${options.sizes}", expected whole numbers of 100 or more`);
  console.log(`${new Date().toISOString().slice(0, 10)}, ${machine()}; ours: ${options.ours}\n`);
  console.log(`| size | ${MEASURED.join(" | ")} |\n| --- | ${MEASURED.map(() => "---").join(" | ")} |`);
  const rows: Record<number, Row> = {};
  // All stores go at the end: removing one would slow down the making of files in the next.
  await using folder = await benchFolder(options.folder);
  for (const size of sizes) {
    const row = await measure(join(folder.path, String(size)), size);
    rows[size] = row;
    console.log(`| ${size} | ${MEASURED.map((name) => row[name].toFixed(0)).join(" | ")} |`);
  }
  if (options.json !== undefined) await Bun.write(options.json, `${JSON.stringify({ machine: machine(), rows }, undefined, 2)}\n`);
}

async function measure(folder: string, size: number): Promise<Row> {
  await mkdir(join(folder, "data"), { recursive: true });
  const seeded = seed(join(folder, "data"), size);
  await using server = await registryContender("ours", resolve(options.ours)).start({ folder });
  const middle = Math.floor(size / 2);
  const { seconds } = await runClient({ kind: "push-images", port: server.port, clients: 8, images: IMAGES_PUSHED, layers: 3, layerBytes: 10_000, seed: 1 });
  return {
    "push, images/s": IMAGES_PUSHED / seconds,
    "pull by tag, 1/s": await rateOf(server, `/v2/${repository(middle)}/manifests/latest`),
    "blob, 1/s": await rateOf(server, `/v2/growth/blobs/blobs/${seeded.blob}`),
    "tags page, 1/s": await rateOf(server, `/v2/growth/tags/tags/list?n=100&last=${tag(middle)}`),
    "catalog page, 1/s": await rateOf(server, `/v2/_catalog?n=100&last=${encodeURIComponent(repository(middle))}`),
    "referrers page, 1/s": await rateOf(server, `/v2/growth/referrers/referrers/${seeded.subject}?n=100&last=${seeded.referrer}`),
    "memory, MiB": server.memoryMiB("VmHWM"),
  };
}

async function rateOf(server: Server, path: string): Promise<number> {
  const request = { url: server.url + path, method: "GET", headers: { Accept: IMAGE_TYPE }, status: 200, connections: 4 } as const;
  await hammer({ ...request, seconds: 1 });
  return (await hammer({ ...request, seconds: Number(options.seconds) })).requestsPerSecond;
}

/** Fills a store. @returns What is asked for later: something in the middle of each. */
function seed(data: string, size: number): { readonly blob: Digest; readonly subject: Digest; readonly referrer: Digest } {
  const write = (path: string, content: string): void => {
    mkdirSync(dirname(data + path), { recursive: true });
    writeFileSync(data + path, content);
  };
  const put = (content: string): Digest => {
    const digest = digestOf(Buffer.from(content));
    write(blobData(digest), content);
    return digest;
  };
  const empty = put("{}");
  const config = { mediaType: "application/vnd.oci.empty.v1+json", digest: empty, size: 2 };
  const image = put(JSON.stringify({ schemaVersion: 2, mediaType: IMAGE_TYPE, config, layers: [config] }));
  const addImage = (name: RepositoryName): void => {
    write(layerLink(name, empty), empty);
    write(revisionLink(name, image), image);
  };

  const [tags, blobs, referrers] = ["growth/tags", "growth/blobs", "growth/referrers"].map(parseName);
  if (tags === undefined || blobs === undefined || referrers === undefined) throw new Error("three names are three");
  addImage(tags);
  addImage(referrers);
  write(referrersIndexed(referrers), "");
  const [foundBlobs, foundReferrers]: [Digest[], Digest[]] = [[], []];
  for (let index = 0; index < size; index++) {
    const name = parseName(repository(index));
    addImage(name);
    write(tagCurrentLink(name, parseTag("latest")), image);
    write(tagCurrentLink(tags, parseTag(tag(index))), image);
    write(tagIndexLink(tags, parseTag(tag(index)), image), image);
    const blob = put(`blob ${index}`);
    write(layerLink(blobs, blob), blob);
    foundBlobs.push(blob);
    const referrer = put(JSON.stringify({ schemaVersion: 2, mediaType: IMAGE_TYPE, artifactType: "application/vnd.bench", config, layers: [config], subject: { mediaType: IMAGE_TYPE, digest: image, size: 1 }, annotations: { index: String(index) } }));
    write(revisionLink(referrers, referrer), referrer);
    write(referrerLink(referrers, image, referrer), referrer);
    foundReferrers.push(referrer);
  }
  const middle = Math.floor(size / 2);
  const [blob, referrer] = [foundBlobs[middle], foundReferrers.sort()[middle]];
  if (blob === undefined || referrer === undefined) throw new Error("nothing was made");
  return { blob, subject: image, referrer };
}

function repository(index: number): string {
  return `group-${String(index % 317).padStart(3, "0")}/repository-${String(index).padStart(6, "0")}`;
}

function tag(index: number): string {
  return `tag-${String(index).padStart(6, "0")}`;
}
