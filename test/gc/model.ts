import { digestOf, TYPES } from "../support/http.ts";
import { tryCommand } from "../support/command.ts";
import { type RegistryProcess, registryCommand } from "../support/registry-process.ts";

/** How many clients work at once. */
export const CLIENTS = 8;
const TAGS = 5;
/** Longer than a collector that was killed is heeded. */
const PUSH_LIMIT_MS = 60_000;

/** An image, by what must be there. */
export interface Image {
  readonly manifest: string;
  readonly blobs: readonly string[];
}

/** Numbers that look random and are the same for the same seed. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2654435761 + 1) >>> 0 || 1;
  }

  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }
}

/** The server did not answer, or not to the end: what was asked may have been done, or not. */
class NoAnswerError extends Error {}

/**
 * What one client did and must find again. Each has repositories of its own and shares blobs with all others. Of each tag it knows what
 * may be there: one image, or nothing, and several of these when a server died over the last request.
 */
export class Client {
  retries = 0;
  readonly name: string;
  readonly #url: () => string;
  readonly #dice: Dice;
  readonly #tags = new Map<string, readonly (Image | undefined)[]>();

  /** @param url Where the server is now. */
  constructor(url: () => string, index: number, seed: number) {
    this.name = `stress/client-${index}`;
    this.#url = url;
    this.#dice = new Dice(seed + index);
  }

  /** Does something at random. @throws Error when the registry's answer is none that it may give */
  async step(): Promise<void> {
    const action = this.#dice.below(10);
    try {
      if (action < 6) await this.#push();
      else if (action < 8) await this.#deleteTag();
      else for (const tag of this.#tags.keys()) return void (await this.pull(tag));
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error;
      await Bun.sleep(50);
    }
  }

  /** Pulls everything and holds it against what must be there. @returns What is there. */
  async pullAll(): Promise<readonly Image[]> {
    const images: Image[] = [];
    for (const tag of this.#tags.keys()) {
      const image = await this.pull(tag);
      if (image !== undefined) images.push(image);
    }
    return images;
  }

  async pull(tag: string): Promise<Image | undefined> {
    const possible = this.#tags.get(tag) ?? [undefined];
    const { status, bytes } = await this.#ask("GET", `manifests/${tag}`);
    const image = status === 404 ? undefined : possible.find((each) => each?.manifest === digestOf(bytes));
    if (!possible.includes(image) || (image === undefined && status !== 404)) {
      throw new Error(`${this.name}:${tag} is ${status} ${digestOf(bytes)}, expected ${possible.map((each) => each?.manifest ?? "404").join(" or ")}`);
    }
    for (const digest of image?.blobs ?? []) {
      const blob = await this.#ask("GET", `blobs/${digest}`);
      if (blob.status !== 200 || digestOf(blob.bytes) !== digest) throw new Error(`${this.name}:${tag} needs ${digest}, which is ${blob.status}`);
    }
    return image;
  }

  // A client that is told that a blob is missing pushes again, as docker does.
  async #push(): Promise<void> {
    const tag = `t${this.#dice.below(TAGS)}`;
    const parts = [`config ${this.#dice.below(20)}`, `layer ${this.#dice.below(20)}`, `layer ${this.#dice.below(20)}`];
    for (const deadline = Date.now() + PUSH_LIMIT_MS; Date.now() < deadline; await Bun.sleep(20)) {
      if (await this.#tryPush(tag, parts)) return;
      this.retries++;
    }
    throw new Error(`a push did not come through in ${PUSH_LIMIT_MS} ms`);
  }

  async #tryPush(tag: string, parts: readonly string[]): Promise<boolean> {
    const [config, ...layers] = parts.map((text) => ({ mediaType: "application/octet-stream", digest: digestOf(text), size: text.length }));
    for (const text of parts) if (!(await this.#pushBlob(text))) return false;
    const manifest = JSON.stringify({ schemaVersion: 2, mediaType: TYPES.ociManifest, config, layers });
    const image = { manifest: digestOf(manifest), blobs: parts.map((text) => digestOf(text)) };
    const { status, bytes } = await this.#change(tag, image, () => this.#ask("PUT", `manifests/${tag}`, { body: manifest, type: TYPES.ociManifest }));
    const text = new TextDecoder().decode(bytes);
    if (status === 201) this.#tags.set(tag, [image]);
    else if (status !== 503 && !(status === 400 && text.includes("MANIFEST_BLOB_UNKNOWN"))) throw new Error(`PUT of a manifest: ${status} ${text}`);
    return status === 201;
  }

  async #pushBlob(text: string): Promise<boolean> {
    const digest = digestOf(text);
    if (this.#dice.below(3) > 0 && (await this.#ask("HEAD", `blobs/${digest}`)).status === 200) return true;
    const query = this.#dice.below(2) === 0 ? `?mount=${digest}&from=stress/client-${this.#dice.below(CLIENTS)}` : "";
    const started = await this.#ask("POST", `blobs/uploads/${query}`);
    if (started.status === 201) return true;
    const finished = await this.#ask("PUT", `${started.location}&digest=${digest}`, { body: text, type: "application/octet-stream" });
    // A server that was killed and came back under another address knows nothing of the token's address, but all of the upload.
    if (finished.status === 201 || finished.status === 503 || finished.status === 404) return finished.status === 201;
    throw new Error(`PUT of a blob: ${finished.status} ${new TextDecoder().decode(finished.bytes)}`);
  }

  async #deleteTag(): Promise<void> {
    const tag = `t${this.#dice.below(TAGS)}`;
    const possible = this.#tags.get(tag);
    if (possible === undefined) return;
    const { status } = await this.#change(tag, undefined, () => this.#ask("DELETE", `manifests/${tag}`));
    if (status !== 202 && !(status === 404 && possible.includes(undefined))) throw new Error(`DELETE of a tag: ${status}`);
    this.#tags.set(tag, [undefined]);
  }

  /** Asks for a change; without an answer both what was and what was to be are possible. */
  async #change<T>(tag: string, image: Image | undefined, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      if (error instanceof NoAnswerError) this.#tags.set(tag, [...(this.#tags.get(tag) ?? [undefined]), image]);
      throw error;
    }
  }

  async #ask(method: string, path: string, content?: { readonly body: string; readonly type: string }): Promise<{ readonly status: number; readonly bytes: Uint8Array; readonly location: string }> {
    const url = path.startsWith("http") ? path : `${this.#url()}/v2/${this.name}/${path}`;
    try {
      const response = await fetch(url, { method, ...(content === undefined ? {} : { body: content.body, headers: { "content-type": content.type } }) });
      return { status: response.status, bytes: await response.bytes(), location: response.headers.get("location") ?? "" };
    } catch (error) {
      throw new NoAnswerError(`${method} ${url}`, { cause: error });
    }
  }
}

/** What a collection came to, as `--json` tells it. */
export interface Collected {
  readonly deletedBlobs: number;
  readonly rescued: number;
}

/** Runs the collector's command beside the servers. */
export async function collect(registry: RegistryProcess, ...flags: readonly string[]): Promise<Collected> {
  const { exitCode, stdout, stderr } = await tryCommand(collectCommand(registry, ...flags));
  if (exitCode !== 0) throw new Error(`garbage-collect: status ${exitCode}: ${stderr}`);
  return JSON.parse(stdout) as Collected;
}

export function collectCommand(registry: RegistryProcess, ...flags: readonly string[]): string[] {
  return [...registryCommand(registry.implementation), "garbage-collect", "--json", "--delete-untagged", ...flags, registry.configFile];
}

/** The hex of every blob on disk. */
export function storedBlobs(storageFolder: string): Set<string> {
  return new Set([...new Bun.Glob("docker/registry/v2/blobs/*/*/*/data").scanSync({ cwd: storageFolder, dot: true })].map((path) => path.split("/").at(-2) ?? ""));
}

/** The hex of everything that images consist of. */
export function neededBlobs(images: readonly Image[]): Set<string> {
  return new Set(images.flatMap((image) => [image.manifest, ...image.blobs]).map((digest) => digest.slice("sha256:".length)));
}
