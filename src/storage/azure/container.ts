import type { AppendBlobAppendBlockOptions, BlobClient, BlobGetPropertiesResponse, ContainerClient } from "@azure/storage-blob";
import type { KeyPage, KeyPageRequest } from "../object-store/children.ts";
import { type ByteSource, readWhole } from "../object-store/resumed-stream.ts";
import { type RetryPolicy, retry } from "../object-store/retry.ts";
import type { AzureConnection } from "./connection.ts";
import { AZURE, AzureCallError, type Call, callFailure, isTransient } from "./errors.ts";

/** What a blob holds at most, of either type. */
export const MAX_BLOCKS = 50_000;
const MAX_RETRIES = 5;
const MAX_PAGE = 5000;

/** A blob as the store tells of it. */
export interface BlobFacts {
  readonly key: string;
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
  /** Another one with every change. */
  readonly etag: string;
  /** Whether it is an append blob: bytes can be added. */
  readonly isAppendable: boolean;
}

/** Content on its way, and what it is of. */
export interface Content extends ByteSource {
  readonly lengthBytes: number;
  readonly etag: string;
}

/** Bytes of a blob, `endByte` exclusive. */
export interface Range {
  readonly startByte: number;
  readonly endByte: number;
}

/** What is appended to an append blob. */
export interface AppendedBlock {
  readonly bytes: Uint8Array;
  /** Where the blob ends that they are for. */
  readonly startByte: number;
  /** What the blob is then. */
  readonly etag: string;
}

/** How far the copying of a blob has come. */
export interface CopyState {
  readonly copyId: string | undefined;
  readonly status: "success" | "pending" | "aborted" | "failed" | undefined;
  readonly description: string | undefined;
}

/**
 * The calls to one container, each with its time limits, in terms of keys and bytes. They are tried again when they fail for a while.
 * They reject with AzureCallError. A blob that is still being copied to, or whose copying failed, is none.
 */
export class Container {
  readonly policy: RetryPolicy;
  readonly #connection: AzureConnection;
  readonly #client: ContainerClient;

  constructor(connection: AzureConnection) {
    this.#connection = connection;
    this.#client = connection.client;
    this.policy = { maxRetries: MAX_RETRIES, isTransient, signal: connection.transport.closed };
  }

  /** @returns undefined when there is no such blob */
  async stat(key: string): Promise<BlobFacts | undefined> {
    const properties = await this.#properties(key);
    return properties === undefined || isUnfinishedCopy(properties.copyStatus) ? undefined : factsOf(key, properties);
  }

  /**
   * Opens a blob's content.
   * @param ifMatch Only while it is still this one.
   * @returns undefined when there is no such blob
   */
  async open(key: string, range: Range, ifMatch?: string): Promise<Content | undefined> {
    const { startByte, endByte } = range;
    const count = endByte === Number.POSITIVE_INFINITY ? undefined : endByte - startByte;
    const conditions = ifMatch === undefined ? {} : { conditions: { ifMatch } };
    try {
      return await this.#call("Get Blob", key, async () => {
        const { status, headers, content } = await this.#connection.transport.download((abortSignal) => this.#blob(key).download(startByte, count, { abortSignal, ...conditions }));
        const lengthBytes = Number(headers["content-length"] ?? Number.NaN);
        const isRefused = Number.isNaN(lengthBytes) || (startByte > 0 && status !== 206) || isUnfinishedCopy(single(headers["x-ms-copy-status"]));
        if (!isRefused) return { lengthBytes, etag: headers.etag ?? "", next: () => content.next(), close: () => content.close() };
        content.close();
        if (Number.isNaN(lengthBytes)) throw new Error("the store does not tell how long its answer is");
        if (startByte > 0 && status !== 206) throw new Error("the store ignored the range that was asked for");
        return undefined;
      });
    } catch (error) {
      if (error instanceof AzureCallError && (error.isMissing || error.isBeingCopied)) return undefined;
      throw error;
    }
  }

  /** Reads a part of a blob, with an end. @param ifMatch Of this one. @returns undefined when there is no such blob */
  async read(key: string, range: Range, ifMatch: string): Promise<Uint8Array | undefined> {
    const first = await this.open(key, range, ifMatch);
    if (first === undefined) return undefined;
    const reopen = async (skipBytes: number): Promise<Content> => {
      const content = await this.open(key, { ...range, startByte: range.startByte + skipBytes }, ifMatch);
      if (content === undefined) throw new Error(`${AZURE}: ${key} went away while it was read`);
      return content;
    };
    return await readWhole({ first, lengthBytes: range.endByte - range.startByte, reopen, policy: this.policy });
  }

  /** Makes a block blob, in one piece. @returns Its ETag. */
  async put(key: string, bytes: Uint8Array): Promise<string> {
    return await this.#replacing(key, async () => {
      const { etag } = await this.#call("Put Blob", key, () => this.#client.getBlockBlobClient(key).upload(bytes, bytes.length));
      return etag ?? "";
    });
  }

  /** Makes an empty append blob where there is no blob. @returns Its ETag. @throws AzureCallError `isThereAlready` */
  async createAppendBlob(key: string): Promise<string> {
    try {
      const { etag } = await this.#call("Put Blob", key, () => this.#client.getAppendBlobClient(key).create({ conditions: { ifNoneMatch: "*" } }));
      return etag ?? "";
    } catch (error) {
      // Of two attempts the first may have succeeded, with its answer lost. Should it be somebody else's, the first to append has it.
      const found = error instanceof AzureCallError && error.isThereAlready ? await this.stat(key) : undefined;
      if (found?.isAppendable === true && found.sizeBytes === 0) return found.etag;
      throw error;
    }
  }

  /** Appends bytes. @returns The new ETag. @throws AzureCallError `isChanged` when the blob is no longer the one meant */
  async append(key: string, block: AppendedBlock): Promise<string> {
    const { bytes, startByte, etag } = block;
    const options: AppendBlobAppendBlockOptions = { conditions: { ifMatch: etag, appendPosition: startByte } };
    let attempts = 0;
    try {
      const appended = await this.#call("Append Block", key, () => {
        attempts++;
        return this.#client.getAppendBlobClient(key).appendBlock(bytes, bytes.length, options);
      });
      return appended.etag ?? "";
    } catch (error) {
      const found = attempts > 1 && error instanceof AzureCallError && error.isChanged ? await this.#ifAppended(key, block) : undefined;
      if (found !== undefined) return found;
      throw error;
    }
  }

  /** Sends a block that a blob is to be made of. */
  async stageBlock(key: string, id: string, bytes: Uint8Array): Promise<void> {
    await this.#replacing(key, () => this.#call("Put Block", key, () => this.#client.getBlockBlobClient(key).stageBlock(id, bytes, bytes.length)));
  }

  /** Makes a block blob of blocks. @param ifMatch Only in place of this one. @returns Its ETag. */
  async commitBlocks(key: string, ids: readonly string[], ifMatch?: string): Promise<string> {
    const conditions = ifMatch === undefined ? {} : { conditions: { ifMatch } };
    const { etag } = await this.#call("Put Block List", key, () => this.#client.getBlockBlobClient(key).commitBlockList([...ids], conditions));
    return etag ?? "";
  }

  /** Begins to copy a blob; as a rule it is done at once. @param source Only while it is this one. */
  async startCopy(source: { readonly key: string; readonly etag: string }, destination: string): Promise<CopyState> {
    const url = await this.#connection.signer.sourceUrl({ url: this.#blob(source.key).url, name: source.key });
    const sourceConditions = { ifMatch: source.etag };
    return await this.#replacing(destination, async () => {
      const poller = await this.#call("Copy Blob", destination, () => this.#blob(destination).beginCopyFromURL(url, { sourceConditions }));
      const { copyId, isCompleted }: { readonly copyId?: string; readonly isCompleted?: boolean } = poller.getOperationState();
      return { copyId, status: isCompleted === true ? "success" : "pending", description: undefined };
    });
  }

  /** What became of copying to a blob. */
  async copyState(key: string): Promise<CopyState> {
    const properties = await this.#properties(key);
    return { copyId: properties?.copyId, status: properties?.copyStatus, description: properties?.copyStatusDescription };
  }

  /** Ends the copying to a blob. */
  async abortCopy(key: string, copyId: string): Promise<void> {
    await this.#call("Abort Copy Blob", key, () => this.#blob(key).abortCopyFromURL(copyId));
  }

  /**
   * Deletes a blob.
   * @param ifMatch Only this one.
   * @returns Whether there was one.
   */
  async remove(key: string, ifMatch?: string): Promise<boolean> {
    const conditions = ifMatch === undefined ? {} : { conditions: { ifMatch } };
    let attempts = 0;
    const remove = (): Promise<unknown> => {
      attempts++;
      return this.#blob(key).delete({ deleteSnapshots: "include", ...conditions });
    };
    try {
      await this.#call("Delete Blob", key, remove);
      return true;
    } catch (error) {
      if (!(error instanceof AzureCallError)) throw error;
      // Of two attempts the first may have succeeded, with its answer lost. No condition holds of what is not there.
      const isGone = error.isMissing || (error.isChanged && attempts > 1 && (await this.#properties(key)) === undefined);
      if (!isGone) throw error;
      return attempts > 1;
    }
  }

  /** Lists one page of what lies below a prefix, up to a delimiter. */
  async listChildren({ prefix, delimiter = "/", startAfter, next, limit }: KeyPageRequest): Promise<KeyPage> {
    // The store knows no name to begin after: what comes before is read, in large pages, and left out.
    const settings = { maxPageSize: startAfter === undefined ? limit : MAX_PAGE, ...(next === undefined ? {} : { continuationToken: next }) };
    const page = await this.#call("List Blobs", prefix, () => firstOf(this.#client.listBlobsByHierarchy(delimiter, { prefix }).byPage(settings)));
    const isAfter = (name: string): boolean => name !== prefix && (startAfter === undefined || name > startAfter);
    const { blobItems = [], blobPrefixes = [] } = page?.segment ?? {};
    return {
      keys: blobItems.map(({ name }) => name).filter(isAfter),
      // The emulator leaves off all of a delimiter but its first character.
      directories: blobPrefixes.map(({ name }) => (name.endsWith(delimiter) ? name : `${name}${delimiter.slice(1)}`)).filter(isAfter),
      next: page?.continuationToken || undefined,
    };
  }

  /** Lists every blob whose name begins so, page by page, in bytewise order. */
  async *listBlobs(prefix: string, pageSize = MAX_PAGE): AsyncGenerator<readonly BlobFacts[]> {
    let next: string | undefined;
    do {
      const settings = { maxPageSize: pageSize, ...(next === undefined ? {} : { continuationToken: next }) };
      const page = await this.#call("List Blobs", prefix, () => firstOf(this.#client.listBlobsFlat({ prefix, includeCopy: true }).byPage(settings)));
      const blobs = (page?.segment.blobItems ?? []).flatMap(({ name, properties }) => (isUnfinishedCopy(properties.copyStatus) ? [] : [factsOf(name, properties)]));
      if (blobs.length > 0) yield blobs;
      const token = page?.continuationToken || undefined;
      if (token !== undefined && token === next) throw new Error(`${AZURE}: the store's listing of ${JSON.stringify(prefix)} does not come to an end`);
      next = token;
    } while (next !== undefined);
  }

  /** Whether any blob's name begins so. */
  async hasBlobs(prefix: string): Promise<boolean> {
    for await (const blobs of this.listBlobs(prefix, 1)) return blobs.length > 0;
    return false;
  }

  /** A URL at which a blob is read without credentials; undefined when there is nothing to sign with. */
  async readUrl(key: string): Promise<string | undefined> {
    return await this.#connection.signer.readUrl({ url: this.#blob(key).url, name: key });
  }

  /** Gives up what is under way and closes all connections. */
  close(): void {
    this.#connection.transport.close();
  }

  async #properties(key: string): Promise<BlobGetPropertiesResponse | undefined> {
    return await this.#ifThere(() => this.#call("Get Blob Properties", key, () => this.#blob(key).getProperties()));
  }

  /** Whether what an attempt without an answer was to append is what the blob ends with. @returns The blob's ETag then */
  async #ifAppended(key: string, { bytes, startByte }: AppendedBlock): Promise<string | undefined> {
    const found = await this.stat(key);
    const endByte = startByte + bytes.length;
    if (found === undefined || !found.isAppendable || found.sizeBytes !== endByte) return undefined;
    const stored = await this.read(key, { startByte, endByte }, found.etag);
    return stored !== undefined && Buffer.compare(stored, bytes) === 0 ? found.etag : undefined;
  }

  /**
   * Makes a blob. The store does not put one type in the place of another: then what is there is deleted first. That happens to links
   * that distribution wrote before it made them block blobs; it replaces them in the same way.
   */
  async #replacing<T>(key: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof AzureCallError && error.isOfOtherType)) throw error;
    }
    await this.remove(key);
    return await work();
  }

  async #ifThere<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof AzureCallError && error.isMissing) return undefined;
      throw error;
    }
  }

  async #call<T>(operation: string, key: string, work: () => Promise<T>): Promise<T> {
    const call: Call = { operation, target: key === "" ? this.#client.containerName : `${this.#client.containerName}/${key}` };
    return await retry(async () => {
      try {
        return await work();
      } catch (error) {
        throw callFailure(error, call);
      }
    }, this.policy);
  }

  #blob(key: string): BlobClient {
    return this.#client.getBlobClient(key);
  }
}

function factsOf(key: string, facts: { readonly contentLength?: number; readonly lastModified?: Date; readonly etag?: string; readonly blobType?: string }): BlobFacts {
  return { key, sizeBytes: facts.contentLength ?? 0, modifiedAt: facts.lastModified ?? new Date(0), etag: facts.etag ?? "", isAppendable: facts.blobType === "AppendBlob" };
}

function isUnfinishedCopy(status: string | undefined): boolean {
  return status !== undefined && status !== "success";
}

async function firstOf<T>(pages: AsyncIterable<T>): Promise<T | undefined> {
  for await (const page of pages) return page;
  return undefined;
}

function single(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}
