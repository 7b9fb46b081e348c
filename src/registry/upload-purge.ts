import { yieldToEventLoop } from "../lib/concurrently.ts";
import { isName } from "../oci/name.ts";
import type { StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError, WriterBusyError } from "../storage/errors.ts";
import { listTree } from "../storage/walk.ts";
import type { Logger } from "../telemetry/log.ts";
import { BLOBS, REPOSITORIES } from "./layout.ts";
import { childPagesIfAny } from "./list-children.ts";
import type { UploadKey } from "./upload-folder.ts";

const UPLOADS = "_uploads";
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const UNFINISHED_UPLOAD = new RegExp(`/${UPLOADS}/[0-9a-f-]{36}/data$`, "i");
const UNFINISHED_BLOB = new RegExp(`^${BLOBS}/.+/data$`);
const FOLDERS_PER_TURN = 256;
/** A writer that wrote nothing for so long may be stuck; its upload was begun long before. */
const WRITE_PAUSE_MS = 30_000;

/** Which uploads are to go. */
export interface PurgeRequest {
  /** Those that began before. */
  readonly olderThan: Date;
  /** Only says in the log what would be deleted. */
  readonly dryRun: boolean;
  /** Ends the purge early. */
  readonly signal?: AbortSignal;
}

/** What a purge came to. */
export interface PurgeResult {
  /** Uploads deleted, or with `dryRun` found to be old enough. */
  readonly deleted: number;
  /** Uploads and folders that could not be looked at or deleted; each is in the log. */
  readonly errors: number;
}

/** What a purge works with. */
export interface PurgeParts {
  readonly driver: StorageDriver;
  readonly log: Logger;
  /** Whether somebody is writing to an upload just now. */
  readonly isHeld: (key: UploadKey) => boolean;
}

/**
 * Deletes uploads that were begun long ago and never finished; one that lost its beginning is as old as its last change. Everything that
 * is not the folder of an upload is left alone, and so is an upload that somebody writes to, in this process or in another one.
 * What a store keeps of unfinished writes beside its files goes when it is as old.
 */
export async function purgeUploads(parts: PurgeParts, request: PurgeRequest): Promise<PurgeResult> {
  const { log } = parts;
  log.info("upload purge starts", { "older.than": request.olderThan.toISOString(), "dry.run": request.dryRun });
  const purge = new Purge(parts, request);
  await purge.visit(REPOSITORIES);
  await purge.abortUnfinished();
  const result = { deleted: purge.deleted, errors: purge.errors };
  log.info("upload purge finished", result);
  return result;
}

class Purge {
  deleted = 0;
  errors = 0;
  readonly #parts: PurgeParts;
  readonly #request: PurgeRequest;
  #visited = 0;

  constructor(parts: PurgeParts, request: PurgeRequest) {
    this.#parts = parts;
    this.#request = request;
  }

  /** Visits a folder of repositories and everything below. */
  async visit(folder: string): Promise<void> {
    if (++this.#visited % FOLDERS_PER_TURN === 0) await yieldToEventLoop();
    for (const child of await this.#children(folder)) {
      if (this.#request.signal?.aborted === true) return;
      if (child === UPLOADS) await this.#visitUploads(folder);
      else if (!child.startsWith("_")) await this.visit(`${folder}/${child}`);
    }
  }

  /**
   * Gives up old writes that the store keeps where a listing does not show them: of uploads, and of blobs that were being stored when
   * a server died.
   */
  async abortUnfinished(): Promise<void> {
    await this.#abortUnfinishedIn(REPOSITORIES, (path) => UNFINISHED_UPLOAD.test(path) && !this.#isHeld(path.slice(0, -"/data".length)));
    await this.#abortUnfinishedIn(BLOBS, (path) => UNFINISHED_BLOB.test(path));
  }

  async #abortUnfinishedIn(folder: string, isDoomed: (path: string) => boolean): Promise<void> {
    const { driver, log } = this.#parts;
    if (driver.listUnfinished === undefined) return;
    await this.#attempt(folder, async () => {
      for await (const { path, startedAt, abort } of driver.listUnfinished?.(folder) ?? []) {
        if (this.#request.signal?.aborted === true) return;
        if (startedAt >= this.#request.olderThan || !isDoomed(path)) continue;
        log.info("stale write", { path, "started.at": startedAt.toISOString(), "dry.run": this.#request.dryRun });
        if (!this.#request.dryRun) await this.#attempt(path, abort);
      }
    });
  }

  async #visitUploads(repository: string): Promise<void> {
    const folder = `${repository}/${UPLOADS}`;
    for (const id of await this.#children(folder)) {
      if (this.#request.signal?.aborted === true) return;
      if (UUID.test(id)) await this.#attempt(`${folder}/${id}`, () => this.#purgeIfOld(`${folder}/${id}`));
    }
  }

  async #purgeIfOld(upload: string): Promise<void> {
    const startedAt = (await this.#startedAt(upload)) ?? (await this.#lastChange(upload));
    if (startedAt === undefined || startedAt >= this.#request.olderThan || this.#isHeld(upload) || (await this.#isWritten(upload))) return;
    this.#parts.log.info("stale upload", { path: upload, "started.at": startedAt.toISOString(), "dry.run": this.#request.dryRun });
    if (!this.#request.dryRun) await this.#parts.driver.delete(upload, { durable: false });
    this.deleted++;
  }

  async #startedAt(upload: string): Promise<Date | undefined> {
    const path = `${upload}/startedat`;
    try {
      const startedAt = new Date(Buffer.from(await this.#parts.driver.getContent(path)).toString());
      // A power loss can leave the file empty; it is as old as the upload all the same.
      return Number.isNaN(startedAt.getTime()) ? (await this.#parts.driver.stat(path)).modifiedAt : startedAt;
    } catch (error) {
      if (error instanceof PathNotFoundError) return undefined;
      throw error;
    }
  }

  /** When the youngest file of an upload was changed, or its empty folder; distribution leaves such folders when uploads are cancelled. */
  async #lastChange(upload: string): Promise<Date | undefined> {
    let last: Date | undefined;
    for await (const { modifiedAt } of listTree(this.#parts.driver, upload)) if (last === undefined || modifiedAt > last) last = modifiedAt;
    return last ?? (await this.#parts.driver.stat(upload)).modifiedAt;
  }

  /** Whether another process writes to an upload right now: then its bytes are young, and the store does not give them to a second writer. */
  async #isWritten(upload: string): Promise<boolean> {
    const { driver } = this.#parts;
    if (driver.localFile === undefined) return false;
    const path = `${upload}/data`;
    try {
      const { modifiedAt } = await driver.stat(path);
      if (Date.now() - modifiedAt.getTime() > WRITE_PAUSE_MS) return false;
      await using writer = await driver.writer(path, { append: true });
      await writer.close();
      return false;
    } catch (error) {
      if (error instanceof PathNotFoundError) return false;
      if (error instanceof WriterBusyError) return true;
      throw error;
    }
  }

  /** Names of the folders in a folder; none when it could not be listed. */
  async #children(folder: string): Promise<readonly string[]> {
    const names: string[] = [];
    await this.#attempt(folder, async () => {
      for await (const entries of childPagesIfAny(this.#parts.driver, folder)) {
        for (const entry of entries) if (entry.isDirectory) names.push(entry.name);
      }
    });
    return names;
  }

  #isHeld(upload: string): boolean {
    const [name = "", id = ""] = upload.slice(REPOSITORIES.length + 1).split(`/${UPLOADS}/`);
    return isName(name) && this.#parts.isHeld({ name, id });
  }

  async #attempt(path: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (error instanceof PathNotFoundError) return;
      this.errors++;
      this.#parts.log.error("upload purge failed for a path", { path, "err.message": error instanceof Error ? error.message : String(error) });
    }
  }
}
