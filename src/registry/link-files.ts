import { type Digest, isDigest } from "../oci/digest.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import type { Logger } from "../telemetry/log.ts";

/** A link holds a digest; the longest (sha512) has 135 bytes. What is much longer is no link. */
const MAX_LINK_BYTES = 4096;

/**
 * The small files that hold one digest and nothing else.
 * Distribution 2.x truncates links in place, so a crash leaves empty ones behind: a link that holds no digest is logged and treated
 * as missing, for the item that it stands for alone, until a push writes it anew.
 */
export class LinkFiles {
  readonly #driver: StorageDriver;
  readonly #log: Logger;

  constructor(driver: StorageDriver, log: Logger) {
    this.#driver = driver;
    this.#log = log;
  }

  /** The digest that a link holds; undefined when there is no link, or none that can be read as one. */
  async read(path: string): Promise<Digest | undefined> {
    let bytes: Uint8Array;
    try {
      bytes = await this.#driver.getContent(path, MAX_LINK_BYTES);
    } catch (error) {
      if (error instanceof PathNotFoundError) return undefined;
      throw error;
    }
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
    if (isDigest(text)) return text;
    this.#log.error("link file holds no digest", { path, found: text.slice(0, 100), expected: "<algorithm>:<hex> without a newline" });
    return undefined;
  }

  /**
   * Whether there is a link that holds this very digest, told by the file's length: cheaper than reading it.
   * For links that never point elsewhere than their path says.
   */
  async has(path: string, digest: Digest): Promise<boolean> {
    try {
      const { sizeBytes } = await this.#driver.stat(path);
      return sizeBytes === digest.length || (await this.read(path)) === digest;
    } catch (error) {
      if (error instanceof PathNotFoundError) return false;
      throw error;
    }
  }

  /** Writes a link durably, also one that is there already: its age says when it was last needed. */
  async write(path: string, digest: Digest): Promise<void> {
    await this.#driver.putContent(path, digest);
  }

  /** Writes a link durably unless it is there already. */
  async ensure(path: string, digest: Digest): Promise<void> {
    if ((await this.read(path)) !== digest) await this.write(path, digest);
  }

  /** Deletes a link. @returns Whether there was one. */
  async delete(path: string): Promise<boolean> {
    try {
      await this.#driver.delete(path);
      return true;
    } catch (error) {
      if (error instanceof PathNotFoundError) return false;
      throw error;
    }
  }
}
