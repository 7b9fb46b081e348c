import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { digestOf, TYPES } from "../support/http.ts";
import { registryCommand, type RegistryProcess, startRegistry } from "../support/registry-process.ts";

const SECONDS = Number(process.env["REGISTRY_STRESS_SECONDS"] ?? 20);
const SEED = Number(process.env["REGISTRY_STRESS_SEED"] ?? Date.now() % 1_000_000);
const CLIENTS = 8;
const GRACE = "200ms";

/** An image that was acknowledged, by what must be there. */
interface Image {
  readonly manifest: string;
  readonly blobs: readonly string[];
}

/** Numbers that look random and are the same for the same seed. */
class Dice {
  #state: number;
  constructor(seed: number) {
    this.#state = (seed * 2654435761 + 1) >>> 0;
  }
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }
}

/** What one client did and must find again. Each has repositories of its own and shares blobs with all others. */
class Client {
  /** Tag to image, as last acknowledged. */
  readonly tags = new Map<string, Image>();
  retries = 0;
  readonly #url: string;
  readonly #name: string;
  readonly #dice: Dice;

  constructor(url: string, index: number) {
    this.#url = url;
    this.#name = `stress/client-${index}`;
    this.#dice = new Dice(SEED + index);
  }

  get name(): string {
    return this.#name;
  }

  async step(): Promise<void> {
    const action = this.#dice.below(10);
    if (action < 6) await this.#push();
    else if (action < 8) await this.#deleteTag();
    else await this.#pull();
  }

  // A client that is told that a blob is missing pushes again, as docker does.
  async #push(): Promise<void> {
    const tag = `t${this.#dice.below(5)}`;
    const parts = [`config ${this.#dice.below(20)}`, `layer ${this.#dice.below(20)}`, `layer ${this.#dice.below(20)}`];
    for (let tries = 0; tries < 50; tries++) {
      const image = await this.#tryPush(tag, parts);
      if (image !== undefined) {
        this.tags.set(tag, image);
        return;
      }
      this.retries++;
    }
    throw new Error("a push did not come through in 50 tries");
  }

  async #tryPush(tag: string, parts: readonly string[]): Promise<Image | undefined> {
    const [config, ...layers] = parts.map((text) => ({ mediaType: "application/octet-stream", digest: digestOf(text), size: text.length }));
    for (const text of parts) if (!(await this.#blob(text))) return undefined;
    const manifest = JSON.stringify({ schemaVersion: 2, mediaType: TYPES.ociManifest, config, layers });
    const response = await fetch(`${this.#url}/v2/${this.#name}/manifests/${tag}`, { method: "PUT", body: manifest, headers: { "content-type": TYPES.ociManifest } });
    const answer = await response.text();
    if (response.status === 201) return { manifest: digestOf(manifest), blobs: parts.map((text) => digestOf(text)) };
    if (response.status === 400 && answer.includes("MANIFEST_BLOB_UNKNOWN")) return undefined;
    if (response.status === 503) return undefined;
    throw new Error(`PUT of a manifest: ${response.status} ${answer}`);
  }

  async #blob(text: string): Promise<boolean> {
    const digest = digestOf(text);
    const base = `${this.#url}/v2/${this.#name}/blobs`;
    if (this.#dice.below(3) > 0 && (await fetch(`${base}/${digest}`, { method: "HEAD" })).status === 200) return true;
    const other = `stress/client-${this.#dice.below(CLIENTS)}`;
    const query = this.#dice.below(2) === 0 ? `?mount=${digest}&from=${other}` : "";
    const started = await fetch(`${base}/uploads/${query}`, { method: "POST" });
    if (started.status === 201) return true;
    const location = `${started.headers.get("location") ?? ""}&digest=${digest}`;
    const finished = await fetch(location, { method: "PUT", body: text, headers: { "content-type": "application/octet-stream" } });
    if (finished.status === 201) return true;
    if (finished.status === 503) return false;
    throw new Error(`PUT of a blob: ${finished.status} ${await finished.text()}`);
  }

  async #deleteTag(): Promise<void> {
    const tag = `t${this.#dice.below(5)}`;
    if (!this.tags.has(tag)) return;
    const response = await fetch(`${this.#url}/v2/${this.#name}/manifests/${tag}`, { method: "DELETE" });
    if (response.status !== 202) throw new Error(`DELETE of a tag: ${response.status}`);
    this.tags.delete(tag);
  }

  async #pull(): Promise<void> {
    for (const [tag, image] of this.tags) {
      await this.verify(this.#url, tag, image);
      return;
    }
  }

  async verify(url: string, tag: string, image: Image): Promise<void> {
    const response = await fetch(`${url}/v2/${this.#name}/manifests/${tag}`);
    if (response.status !== 200) throw new Error(`${this.#name}:${tag} was acknowledged and is ${response.status}`);
    if (digestOf(await response.bytes()) !== image.manifest) throw new Error(`${this.#name}:${tag} is not what was acknowledged`);
    for (const digest of image.blobs) {
      const blob = await fetch(`${url}/v2/${this.#name}/blobs/${digest}`);
      if (blob.status !== 200 || digestOf(await blob.bytes()) !== digest) throw new Error(`${this.#name}:${tag} needs ${digest}, which is ${blob.status}`);
    }
  }
}

async function collect(registry: RegistryProcess, ...flags: readonly string[]): Promise<{ readonly deletedBlobs: number; readonly rescued: number }> {
  const child = Bun.spawn([...registryCommand(registry.implementation), "garbage-collect", "--json", "--delete-untagged", ...flags, registry.configFile], { stdout: "pipe", stderr: "pipe" });
  const [status, out, err] = await Promise.all([child.exited, new Response(child.stdout).text(), new Response(child.stderr).text()]);
  if (status !== 0) throw new Error(`garbage-collect: status ${status}: ${err}`);
  return JSON.parse(out) as { deletedBlobs: number; rescued: number };
}

test(`what was acknowledged outlives collections beside the server (seed ${SEED}, ${SECONDS} s)`, async () => {
  await using first = await startRegistry();
  await using second = await startRegistry({ storageFolder: first.storageFolder });
  const clients = Array.from({ length: CLIENTS }, (_, index) => new Client(index % 2 === 0 ? first.url : second.url, index));
  const deadline = Date.now() + SECONDS * 1000;
  const work = clients.map(async (client) => {
    while (Date.now() < deadline) await client.step();
  });
  const totals = { runs: 0, deletedBlobs: 0, rescued: 0 };
  const collector = (async () => {
    while (Date.now() < deadline) {
      const result = await collect(first, "--grace", GRACE);
      totals.runs++;
      totals.deletedBlobs += result.deletedBlobs;
      totals.rescued += result.rescued;
    }
  })();
  await Promise.all([...work, collector]);
  for (const client of clients) for (const [tag, image] of client.tags) await client.verify(first.url, tag, image);

  // Nobody works any more: one last run leaves exactly what is tagged.
  await Bun.sleep(300);
  await collect(first, "--grace", "0s");
  const needed = new Set(clients.flatMap((client) => [...client.tags.values()].flatMap((image) => [image.manifest, ...image.blobs])));
  const stored = [...new Bun.Glob("docker/registry/v2/blobs/*/*/*/data").scanSync({ cwd: first.storageFolder, dot: true })].map((path) => path.split("/").at(-2) ?? "");
  expect(new Set(stored)).toEqual(new Set([...needed].map((digest) => digest.slice(7))));
  for (const client of clients) for (const [tag, image] of client.tags) await client.verify(second.url, tag, image);
  expect(totals.runs).toBeGreaterThan(2);
  expect(totals.deletedBlobs).toBeGreaterThan(0);
  expect(existsSync(join(first.storageFolder, "docker/registry/v2/_gc/state"))).toBe(false);
  console.log(`${totals.runs} collections deleted ${totals.deletedBlobs} blobs, ${totals.rescued} were rescued, ${clients.reduce((sum, client) => sum + client.retries, 0)} pushes were tried again`);
}, (SECONDS + 60) * 1000);
