import { randomBytes } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { Slots } from "../../lib/slots.ts";
import type { KeyPage, KeyPageRequest } from "../object-store/children.ts";
import type { OpenAnswer, StoreAnswer, StoreRequest } from "../object-store/http-client.ts";
import type { ByteSource } from "../object-store/resumed-stream.ts";
import { type RetryPolicy, retry } from "../object-store/retry.ts";
import type { GcsConnection } from "./connection.ts";
import { answerFailure, type Call, connectionFailure, GcsCallError, isTransient, tokenFailure, UNREADABLE } from "./errors.ts";

/** What objects are that hold files. */
export const BLOB_TYPE = "application/octet-stream";
/** What objects are that stand for unfinished uploads. */
export const SESSION_TYPE = "application/x-docker-upload-session";
const MAX_RETRIES = 5;
const MAX_PAGE = 1000;
const FACTS = "name,generation,size,updated,contentType,crc32c,metadata";

/** An object as the store tells of it. */
export interface ObjectFacts {
  readonly key: string;
  /** Another one with every change of the content. */
  readonly generation: string;
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
  readonly contentType: string;
  /** In the store's form. */
  readonly crc32c: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Content on its way, and what it is of. */
export interface Content extends ByteSource {
  readonly lengthBytes: number;
  readonly generation: string;
  readonly contentType: string;
  /** Of the whole object. */
  readonly crc32c: string | undefined;
}

/** Bytes of an object, `endByte` exclusive. */
export interface Range {
  readonly startByte: number;
  readonly endByte: number;
}

/** What is put in an object's place. */
export interface PutRequest {
  readonly bytes: Uint8Array;
  readonly contentType: string;
  /** Of the bytes; the store refuses them if they arrive as others. */
  readonly crc32c: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Only in place of this generation; "0" is none. */
  readonly ifGeneration?: string;
}

/** How far an upload is, as the store tells it. */
export type SessionState = { readonly isComplete: true; readonly object: ObjectFacts } | { readonly isComplete: false; readonly storedBytes: number };

/** What is sent to a session. */
export interface SessionBytes {
  readonly bytes: Uint8Array;
  readonly startByte: number;
  /** The whole size, with the last bytes. */
  readonly totalBytes?: number;
  /** Of the whole, with the last bytes, if it is known: the store refuses to finish with other bytes. */
  readonly crc32c?: string | undefined;
}

interface ObjectResource {
  readonly name?: string;
  readonly generation?: string;
  readonly size?: string;
  readonly updated?: string;
  readonly contentType?: string;
  readonly crc32c?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

interface ListResource {
  readonly items?: readonly ObjectResource[];
  readonly prefixes?: readonly string[];
  readonly nextPageToken?: string;
}

/**
 * The calls to one bucket by the JSON API, each with its time limits, in terms of keys and bytes. All but those that send to sessions
 * are tried again when they fail for a while. They reject with GcsCallError.
 */
export class Bucket {
  readonly policy: RetryPolicy;
  readonly #connection: GcsConnection;
  readonly #name: string;
  readonly #slots: Slots;
  readonly #closed = new AbortController();

  /** @param maxConcurrency Requests at once. */
  constructor(connection: GcsConnection, name: string, maxConcurrency: number) {
    this.#connection = connection;
    this.#name = name;
    this.#slots = new Slots(maxConcurrency);
    this.policy = { maxRetries: MAX_RETRIES, isTransient, signal: this.#closed.signal };
  }

  /** @returns undefined when there is no such object. @throws GcsCallError, also when there is no such bucket */
  async stat(key: string): Promise<ObjectFacts | undefined> {
    return await this.#ifThere(async () => factsOf(await this.#json<ObjectResource>(this.#call("objects.get", key), { method: "GET", url: this.#objectUrl(key, { fields: FACTS }) })));
  }

  /**
   * Opens an object's content.
   * @param generation Of exactly this one.
   * @returns undefined when there is no such object
   */
  async open(key: string, range: Range, generation?: string): Promise<Content | undefined> {
    const { startByte, endByte } = range;
    const isWhole = startByte === 0 && endByte === Number.POSITIVE_INFINITY;
    const request = {
      method: "GET",
      url: this.#objectUrl(key, { alt: "media", ...(generation === undefined ? {} : { generation }) }),
      headers: isWhole ? {} : { range: `bytes=${startByte}-${endByte === Number.POSITIVE_INFINITY ? "" : endByte - 1}` },
    };
    return await this.#ifThere(async () => {
      const { status, headers, content } = await this.#open(this.#call("objects.get", key), request);
      const lengthBytes = lengthOf(status, headers);
      if (lengthBytes === undefined || (startByte > 0 && status !== 206)) {
        content.close();
        throw new Error(lengthBytes === undefined ? `gcs: the store does not tell how long its answer is, for ${key}` : `gcs: the store ignored the range that was asked of ${key}`);
      }
      return {
        lengthBytes,
        generation: single(headers["x-goog-generation"]) ?? "",
        contentType: headers["content-type"] ?? "",
        crc32c: /(?:^|,)\s*crc32c=([^,\s]+)/.exec(single(headers["x-goog-hash"]) ?? "")?.[1],
        next: () => content.next(),
        close: () => content.close(),
      };
    });
  }

  /** Makes an object. @throws GcsCallError `isChanged` when it is not the generation that it was to replace */
  async put(key: string, request: PutRequest): Promise<ObjectFacts> {
    const { bytes, contentType, crc32c, metadata, ifGeneration } = request;
    const resource = { name: key, contentType, crc32c, ...(metadata === undefined ? {} : { metadata }) };
    const boundary = randomBytes(16).toString("hex");
    const head = `--${boundary}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n${JSON.stringify(resource)}\r\n--${boundary}\r\ncontent-type: ${contentType}\r\n\r\n`;
    try {
      return factsOf(
        await this.#json<ObjectResource>(this.#call("objects.insert", key), {
          method: "POST",
          url: this.#uploadUrl({ uploadType: "multipart", fields: FACTS, ...(ifGeneration === undefined ? {} : { ifGenerationMatch: ifGeneration }) }),
          headers: { "content-type": `multipart/related; boundary=${boundary}` },
          body: [Buffer.from(head), bytes, Buffer.from(`\r\n--${boundary}--\r\n`)],
        }),
      );
    } catch (error) {
      // Of two attempts the first may have succeeded, with its answer lost; then what is there is what was sent.
      const found = error instanceof GcsCallError && error.isChanged ? await this.stat(key) : undefined;
      if (found !== undefined && isSame(found, request)) return found;
      throw error;
    }
  }

  /** Deletes an object; one that is not there is no failure. @param ifGeneration Only this one. */
  async remove(key: string, ifGeneration?: string): Promise<void> {
    const url = this.#objectUrl(key, ifGeneration === undefined ? {} : { ifGenerationMatch: ifGeneration });
    await this.#ifThere(async () => await this.#send(this.#call("objects.delete", key), { method: "DELETE", url }));
  }

  /** Lists one page of what lies below a prefix, up to a delimiter. */
  async listChildren(request: KeyPageRequest): Promise<KeyPage> {
    const { items, prefixes, nextPageToken } = await this.#list({ delimiter: "/", ...request, fields: "nextPageToken,prefixes,items(name)" });
    const names = (items ?? []).flatMap(({ name }) => (name === undefined ? [] : [name]));
    // The store's own offset is a name that may come itself.
    const isAfter = (name: string): boolean => name !== request.prefix && (request.startAfter === undefined || name > request.startAfter);
    return { keys: names.filter(isAfter), directories: prefixes ?? [], next: nextPageToken };
  }

  /** Lists every object whose name begins so, page by page. */
  async *listObjects(prefix: string): AsyncGenerator<readonly ObjectFacts[]> {
    let next: string | undefined;
    do {
      const page: ListResource = await this.#list({ prefix, limit: MAX_PAGE, fields: `nextPageToken,items(${FACTS})`, ...(next === undefined ? {} : { next }) });
      const objects = (page.items ?? []).map(factsOf);
      if (objects.length > 0) yield objects;
      if (page.nextPageToken !== undefined && page.nextPageToken === next) throw new Error(`gcs: the store's listing of ${JSON.stringify(prefix)} does not come to an end`);
      next = page.nextPageToken;
    } while (next !== undefined);
  }

  /** Whether any object's name begins so. */
  async hasObjects(prefix: string): Promise<boolean> {
    const { items } = await this.#list({ prefix, limit: 1, fields: "items(name)" });
    return (items ?? []).length > 0;
  }

  /** Copies an object within the store, however large. @param source Exactly this generation of it. */
  async copy(source: { readonly key: string; readonly generation: string }, destination: string): Promise<void> {
    const call = this.#call("objects.rewrite", destination);
    const path = `${this.#objectPath(source.key)}/rewriteTo/b/${encodeURIComponent(this.#name)}/o/${encodeURIComponent(destination)}`;
    let token: string | undefined;
    for (;;) {
      const query = { sourceGeneration: source.generation, ifSourceGenerationMatch: source.generation, fields: "done,rewriteToken", ...(token === undefined ? {} : { rewriteToken: token }) };
      const answer: { readonly done?: boolean; readonly rewriteToken?: string } = await this.#json(call, { method: "POST", url: this.#url(path, query) });
      if (answer.done === true) return;
      if (answer.rewriteToken === undefined) throw new Error(`gcs: the store neither finished copying ${source.key} nor said how to go on`);
      token = answer.rewriteToken;
    }
  }

  /** Begins an upload. @returns The session's URI, which is as good as a credential. */
  async startSession(key: string): Promise<string> {
    const call = this.#call("objects.insert", key);
    const answer = await this.#send(call, { method: "POST", url: this.#uploadUrl({ uploadType: "resumable", name: key }), headers: { "x-upload-content-type": BLOB_TYPE } });
    const { location } = answer.headers;
    if (location === undefined || !URL.canParse(location)) throw new GcsCallError(call, { reason: "error", status: answer.status, message: "the store's answer names no session" });
    return location;
  }

  /** Sends bytes to an upload, once. */
  async sendToSession(uri: string, { bytes, startByte, totalBytes, crc32c }: SessionBytes): Promise<SessionState> {
    const range = bytes.length === 0 ? "*" : `${startByte}-${startByte + bytes.length - 1}`;
    const headers = { "content-range": `bytes ${range}/${totalBytes ?? "*"}`, ...(crc32c === undefined ? {} : { "x-goog-hash": `crc32c=${crc32c}` }) };
    return await this.#session({ method: "PUT", url: new URL(uri), headers, body: [bytes] });
  }

  /** Asks how far an upload is. */
  async sessionState(uri: string): Promise<SessionState> {
    return await retry(() => this.#session({ method: "PUT", url: new URL(uri), headers: { "content-range": "bytes */*" } }), this.policy);
  }

  /** Gives an upload up; one that is unknown is no failure. */
  async cancelSession(uri: string): Promise<void> {
    const call = this.#call("session.cancel", "");
    await retry(async () => {
      const { status, body } = await this.#exchange(call, { method: "DELETE", url: new URL(uri) });
      // 499 is what success is called here.
      if (status >= 300 && ![404, 410, 499].includes(status)) throw new GcsCallError(call, answerFailure(status, body));
    }, this.policy);
  }

  /** Gives up what is under way and closes all connections. */
  close(): void {
    this.#closed.abort(new Error("gcs: the driver was closed"));
    this.#connection.http.close();
  }

  async #list(request: KeyPageRequest & { readonly delimiter?: string; readonly fields: string }): Promise<ListResource> {
    const { prefix, delimiter, startAfter, next, limit, fields } = request;
    const query = {
      prefix,
      maxResults: String(limit),
      fields,
      ...(delimiter === undefined ? {} : { delimiter }),
      ...(startAfter === undefined ? {} : { startOffset: startAfter }),
      ...(next === undefined ? {} : { pageToken: next }),
    };
    return await this.#json<ListResource>(this.#call("objects.list", prefix), { method: "GET", url: this.#url(`/storage/v1/b/${encodeURIComponent(this.#name)}/o`, query) });
  }

  async #session(request: StoreRequest): Promise<SessionState> {
    const call = this.#call("session.put", "");
    const { status, headers, body } = await this.#exchange(call, request);
    if (status === 308) return { isComplete: false, storedBytes: storedBytesOf(headers["range"]) };
    if (status !== 200 && status !== 201) throw new GcsCallError(call, answerFailure(status, body));
    return { isComplete: true, object: factsOf(parsed<ObjectResource>(call, body)) };
  }

  /** Sends a request in our own name. @returns An answer of success */
  async #send(call: Call, request: StoreRequest): Promise<StoreAnswer> {
    return await retry(() => this.#sendOnce(call, request), this.policy);
  }

  async #json<T>(call: Call, request: StoreRequest): Promise<T> {
    return await retry(async () => parsed<T>(call, (await this.#sendOnce(call, request)).body), this.policy);
  }

  async #sendOnce(call: Call, request: StoreRequest): Promise<StoreAnswer> {
    const answer = await this.#authorized(call, request, (signed) => this.#exchange(call, signed));
    if (answer.status < 200 || answer.status > 299) throw new GcsCallError(call, answerFailure(answer.status, answer.body));
    return answer;
  }

  async #open(call: Call, request: StoreRequest): Promise<OpenAnswer> {
    return await retry(async () => {
      const answer = await this.#authorized(call, request, (signed) => this.#connected(call, () => this.#connection.http.open(this.#named(signed), this.#closed.signal)));
      if ("content" in answer) return answer;
      throw new GcsCallError(call, answerFailure(answer.status, answer.body));
    }, this.policy);
  }

  /** Adds our authority; once more with a new one if the store refuses it. */
  async #authorized<T extends { readonly status: number }>(call: Call, request: StoreRequest, send: (request: StoreRequest) => Promise<T>): Promise<T> {
    const { authority } = this.#connection;
    for (let isSecond = false; ; isSecond = true) {
      const headers = await authority.headers(request.url.href).catch((error: unknown) => {
        throw tokenFailure(error, { ...call, operation: `${call.operation}: access token` });
      });
      const answer = await send({ ...request, headers: { ...request.headers, ...headers } });
      if (answer.status !== 401 || isSecond) return answer;
      authority.refused(headers);
    }
  }

  async #exchange(call: Call, request: StoreRequest): Promise<StoreAnswer> {
    return await this.#connected(call, () => this.#connection.http.send(this.#named(request), this.#closed.signal));
  }

  async #connected<T>(call: Call, work: () => Promise<T>): Promise<T> {
    try {
      return await this.#slots.run(work);
    } catch (error) {
      throw connectionFailure(error, call);
    }
  }

  #named(request: StoreRequest): StoreRequest {
    const { userAgent } = this.#connection;
    return userAgent === undefined ? request : { ...request, headers: { ...request.headers, "user-agent": userAgent } };
  }

  /** Gives undefined for an object that is missing, and lets a missing bucket be an error. */
  async #ifThere<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof GcsCallError && error.isMissing)) throw error;
      // Status and reason are the same for both. What is said of objects begins so; for anything else the bucket itself is asked.
      if (!/^No such object\b/.test(error.storeMessage)) await this.hasObjects("");
      return undefined;
    }
  }

  #call(operation: string, key: string): Call {
    return { operation, target: key === "" ? this.#name : `${this.#name}/${key}` };
  }

  #objectPath(key: string): string {
    return `/storage/v1/b/${encodeURIComponent(this.#name)}/o/${encodeURIComponent(key)}`;
  }

  #objectUrl(key: string, query: Readonly<Record<string, string>>): URL {
    return this.#url(this.#objectPath(key), query);
  }

  #uploadUrl(query: Readonly<Record<string, string>>): URL {
    return this.#url(`/upload/storage/v1/b/${encodeURIComponent(this.#name)}/o`, query);
  }

  #url(path: string, query: Readonly<Record<string, string>>): URL {
    return new URL(`${this.#connection.endpoint}${path}?${new URLSearchParams(query)}`);
  }
}

function factsOf({ name = "", generation = "", size, updated, contentType = "", crc32c, metadata = {} }: ObjectResource): ObjectFacts {
  return { key: name, generation, sizeBytes: Number(size ?? 0), modifiedAt: new Date(updated ?? 0), contentType, crc32c, metadata };
}

function isSame(found: ObjectFacts, { bytes, contentType, crc32c, metadata = {} }: PutRequest): boolean {
  return found.sizeBytes === bytes.length && found.crc32c === crc32c && found.contentType === contentType && Bun.deepEquals(found.metadata, metadata);
}

/** How many bytes a session has, by the Range of its answer; without one it has none. */
function storedBytesOf(range: string | undefined): number {
  const last = /^bytes=0-(\d+)$/.exec(range ?? "")?.[1];
  return last === undefined ? 0 : Number(last) + 1;
}

/** How many bytes an answer has; what stands between us and the store may have left out the plain header. */
function lengthOf(status: number, headers: IncomingHttpHeaders): number | undefined {
  const announced = headers["content-length"] ?? (status === 200 ? single(headers["x-goog-stored-content-length"]) : undefined);
  if (announced !== undefined) return Number(announced);
  const [, first, last] = /^bytes (\d+)-(\d+)\//.exec(headers["content-range"] ?? "") ?? [];
  return first === undefined ? undefined : Number(last) - Number(first) + 1;
}

function parsed<T>(call: Call, body: Uint8Array): T {
  try {
    return JSON.parse(Buffer.from(body).toString()) as T;
  } catch (error) {
    throw new GcsCallError(call, { reason: UNREADABLE, status: 0, message: "the store's answer is not JSON" }, error);
  }
}

function single(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(",") : header;
}
