import type { Clock } from "../lib/clock.ts";
import { RegistryError } from "../oci/errors.ts";
import type { RepositoryName } from "../oci/name.ts";
import type { FileInfo, StorageDriver } from "../storage/driver.ts";
import { PathNotFoundError } from "../storage/errors.ts";
import { uploadData, uploadFolder, uploadStartedAt } from "./layout.ts";

/** Ids are ours or distribution's; what else a URL may bring must not name other files (`..`). */
const UPLOAD_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;

/** One upload, as a URL names it. */
export interface UploadKey {
  readonly name: RepositoryName;
  readonly id: string;
}

/** The folders in which uploads grow, in distribution's form: either side goes on with what the other began. */
export class UploadFolders {
  readonly #driver: StorageDriver;
  readonly #clock: Clock;
  /** Whether what a writer left behind is a file like any other, that can be looked at without opening it for writing. */
  readonly #unfinishedIsFile: boolean;

  constructor(driver: StorageDriver, clock: Clock) {
    this.#driver = driver;
    this.#clock = clock;
    this.#unfinishedIsFile = driver.localFile !== undefined;
  }

  /** Makes the folder of a new upload. */
  async create(key: UploadKey): Promise<Date> {
    const startedAt = new Date(Math.floor(this.#clock.now() / 1000) * 1000);
    // An upload that a power loss takes is begun anew, and nobody was told that it holds anything.
    await this.#driver.putContent(uploadStartedAt(key.name, key.id), formatStartedAt(startedAt), { durable: false });
    return startedAt;
  }

  /**
   * When an upload began.
   * @throws RegistryError BLOB_UPLOAD_UNKNOWN when there is no such upload
   */
  async startedAt(key: UploadKey): Promise<Date> {
    if (!UPLOAD_ID.test(key.id)) throw unknownUpload();
    try {
      const text = Buffer.from(await this.#driver.getContent(uploadStartedAt(key.name, key.id))).toString();
      const startedAt = new Date(text);
      if (!Number.isNaN(startedAt.getTime())) return startedAt;
      return (await this.#driver.stat(uploadStartedAt(key.name, key.id))).modifiedAt;
    } catch (error) {
      if (!(error instanceof PathNotFoundError)) throw error;
    }
    // Some stores hold uploads that lost the file, or never had one; their bytes are as good.
    const data = await this.stat(key);
    if (data === undefined) throw unknownUpload();
    return data.modifiedAt;
  }

  /** What the store says of the bytes so far; undefined when it shows none. */
  async stat(key: UploadKey): Promise<FileInfo | undefined> {
    try {
      return await this.#driver.stat(uploadData(key.name, key.id));
    } catch (error) {
      if (error instanceof PathNotFoundError) return undefined;
      throw error;
    }
  }

  /**
   * When the bytes were last changed; undefined when the store does not show unfinished writes.
   * Tells whether somebody else wrote to an upload meanwhile.
   */
  async modifiedAtMs(key: UploadKey): Promise<number | undefined> {
    return this.#unfinishedIsFile ? (await this.stat(key))?.modifiedAt.getTime() : undefined;
  }

  /** How many bytes are there, as the store tells it now. @throws WriterBusyError where that cannot be told while another process writes */
  async storedSize(key: UploadKey): Promise<number> {
    if (this.#unfinishedIsFile) return (await this.stat(key))?.sizeBytes ?? 0;
    await using writer = await this.#driver.writer(uploadData(key.name, key.id), { append: true });
    const { sizeBytes } = writer;
    await writer.close();
    return sizeBytes;
  }

  /** Removes an upload with its bytes; one that is gone already is no failure. */
  async remove(key: UploadKey): Promise<void> {
    try {
      await this.#driver.delete(uploadFolder(key.name, key.id), { durable: false });
    } catch (error) {
      if (!(error instanceof PathNotFoundError)) throw error;
    }
  }

  /** Removes an upload whose bytes may still be in a writer's hands in the store. @throws WriterBusyError where another process writes them */
  async discard(key: UploadKey): Promise<void> {
    if (!this.#unfinishedIsFile) {
      await using writer = await this.#driver.writer(uploadData(key.name, key.id), { append: true });
      await writer.cancel();
    }
    await this.remove(key);
  }
}

/** RFC 3339 in UTC and whole seconds, as distribution writes it. */
export function formatStartedAt(startedAt: Date): string {
  return startedAt.toISOString().replace(/\.\d{3}Z$/, "Z");
}

/** The answer to who asks for an upload that is not there. */
export function unknownUpload(cause?: unknown): RegistryError {
  return new RegistryError("BLOB_UPLOAD_UNKNOWN", { detail: "blob upload unknown", cause });
}
