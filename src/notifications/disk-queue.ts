import { closeSync, fdatasync, fdatasyncSync, fstatSync, ftruncateSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "../telemetry/log.ts";
import type { EnvelopeEvent } from "./envelope.ts";
import { lockFolder } from "./folder-lock.ts";
import type { EventQueue } from "./queue.ts";

/*
 * A queue in a folder:
 *
 *   <folder>/lock             process id and start time of its owner
 *   <folder>/cursor           `<segment> <offset>` of the first event that is not confirmed, padded, rewritten in place
 *   <folder>/<segment>.log    events, one a line: crc32 in hex, a space, the event as JSON
 *
 * An event is in the page cache when `push` returns, so a killed process loses none; it is on the disk a moment later, when the
 * sync that runs beside comes round. Every start writes into a new segment, so a line torn by a power cut is the last of its segment,
 * and is known by its sum. The cursor may lag behind: then events are delivered again, never lost.
 */

const SEGMENT_BYTES = 4 * 1024 * 1024;
const READ_BYTES = 256 * 1024;
const CURSOR_WIDTH = 40;
const NEWLINE = 10;

/** How a queue on disk is made. */
export interface DiskQueueOptions {
  readonly folder: string;
  /** Beyond so many bytes the oldest segments are given up; at least two segments are kept. */
  readonly maxBytes: number;
  readonly log: Logger;
  /** Bytes after which a new segment is begun; for tests. */
  readonly segmentBytes?: number;
}

interface Segment {
  readonly id: number;
  sizeBytes: number;
  /** Events in it that are not confirmed. */
  events: number;
}

interface Waiting {
  readonly event: EnvelopeEvent;
  readonly segment: Segment;
  /** Where the next event begins. */
  readonly end: number;
}

/** A queue on disk, which outlives the process. Events come out at least once, in the order in which they went in. */
export class DiskQueue implements EventQueue {
  readonly #folder: string;
  readonly #maxBytes: number;
  readonly #segmentBytes: number;
  readonly #log: Logger;
  readonly #unlock: () => void;
  readonly #cursorFile: number;
  /** Oldest first; the last one is being written. */
  readonly #segments: Segment[];
  #writeFile: number;
  #readFile: { readonly segment: Segment; readonly fd: number } | undefined;
  #readAt: number;
  #ahead: Waiting[] = [];
  #peeked: Waiting | undefined;
  #size = 0;
  #syncing: Promise<void> | undefined;
  #dirty = false;
  #closed = false;

  /** @throws Error when the folder cannot be used or another process uses it. */
  constructor(options: DiskQueueOptions) {
    this.#folder = options.folder;
    this.#maxBytes = options.maxBytes;
    // Whole segments are given up: a small queue has small ones.
    this.#segmentBytes = options.segmentBytes ?? Math.min(SEGMENT_BYTES, Math.floor(options.maxBytes / 4));
    this.#log = options.log;
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    this.#unlock = lockFolder(this.#folder);
    const cursor = this.#readCursor();
    this.#segments = this.#findSegments(cursor);
    this.#readAt = this.#segments[0]?.id === cursor.segment ? cursor.offset : 0;
    this.#cursorFile = openSync(join(this.#folder, "cursor"), "r+");
    this.#writeFile = this.#beginSegment((this.#segments.at(-1)?.id ?? cursor.segment) + 1);
  }

  get size(): number {
    return this.#size;
  }

  push(event: EnvelopeEvent): number {
    const json = JSON.stringify(event);
    const line = Buffer.from(`${checksum(json)} ${json}\n`);
    const segment = this.#last();
    try {
      if (segment.sizeBytes > 0 && segment.sizeBytes + line.length > this.#segmentBytes) this.#roll();
      this.#append(line);
    } catch (error) {
      this.#log.error("event cannot be written to the queue on disk", { folder: this.#folder, "err.message": messageOf(error) });
      return 1;
    }
    this.#size++;
    this.#syncSoon();
    return this.#dropOldest();
  }

  peek(): Promise<EnvelopeEvent | undefined> {
    if (this.#ahead.length === 0) this.#readAhead();
    this.#peeked = this.#ahead[0];
    return Promise.resolve(this.#peeked?.event);
  }

  confirm(): void {
    const done = this.#peeked;
    this.#peeked = undefined;
    // Given up while it was being delivered.
    if (done === undefined || this.#ahead[0] !== done) return;
    this.#ahead.shift();
    done.segment.events--;
    this.#size--;
    while (this.#segments[0] !== undefined && this.#segments[0] !== done.segment) this.#removeFirstSegment();
    this.#writeCursor(done.segment.id, done.end);
  }

  /** Syncs what was written and closes; everything that is not confirmed stays in the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#syncing;
    fdatasyncSync(this.#writeFile);
    closeSync(this.#writeFile);
    fdatasyncSync(this.#cursorFile);
    closeSync(this.#cursorFile);
    if (this.#readFile !== undefined) closeSync(this.#readFile.fd);
    this.#unlock();
  }

  #last(): Segment {
    const last = this.#segments.at(-1);
    if (last === undefined) throw new Error("the queue has no segment to write to");
    return last;
  }

  #append(line: Buffer): void {
    const segment = this.#last();
    let written = 0;
    try {
      while (written < line.length) written += writeSync(this.#writeFile, line, written, line.length - written, segment.sizeBytes + written);
    } catch (error) {
      // What a full disk took of the line must not stand before the next one.
      if (written > 0) ftruncateSync(this.#writeFile, segment.sizeBytes);
      throw error;
    }
    segment.sizeBytes += line.length;
    segment.events++;
  }

  #roll(): void {
    const old = this.#writeFile;
    this.#writeFile = this.#beginSegment(this.#last().id + 1);
    this.#syncing = (this.#syncing ?? Promise.resolve()).then(async () => {
      await sync(old, this.#log);
      closeSync(old);
    });
  }

  #beginSegment(id: number): number {
    const fd = openSync(this.#path(id), "wx", 0o600);
    this.#segments.push({ id, sizeBytes: 0, events: 0 });
    const folder = openSync(this.#folder, "r");
    this.#syncing = (this.#syncing ?? Promise.resolve()).then(async () => {
      await sync(folder, this.#log);
      closeSync(folder);
    });
    return fd;
  }

  // One sync at a time, and one more after it for all that came meanwhile: a burst costs two, not one an event.
  #syncSoon(): void {
    if (this.#dirty) return;
    this.#dirty = true;
    this.#syncing = (this.#syncing ?? Promise.resolve()).then(() => {
      this.#dirty = false;
      return this.#closed ? undefined : sync(this.#writeFile, this.#log);
    });
  }

  #dropOldest(): number {
    let dropped = 0;
    while (this.#segments.length > 2 && this.#bytes() > this.#maxBytes) {
      const oldest = this.#removeFirstSegment();
      dropped += oldest.events;
      this.#size -= oldest.events;
      this.#ahead = this.#ahead.filter((waiting) => waiting.segment !== oldest);
    }
    return dropped;
  }

  #bytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.sizeBytes, 0);
  }

  #removeFirstSegment(): Segment {
    const first = this.#segments.shift();
    if (first === undefined) throw new Error("the queue has no segment to remove");
    if (this.#readFile?.segment === first) this.#closeReader();
    try {
      unlinkSync(this.#path(first.id));
    } catch (error) {
      this.#log.error("a delivered segment of the queue on disk cannot be deleted", { file: this.#path(first.id), "err.message": messageOf(error) });
    }
    return first;
  }

  #readAhead(): void {
    for (;;) {
      const reader = (this.#readFile ??= this.#openReader());
      while (this.#ahead.length === 0 && this.#readAt < reader.segment.sizeBytes) this.#readLines(reader.segment, reader.fd);
      if (this.#ahead.length > 0 || reader.segment === this.#last()) return;
      const next = this.#segments[this.#segments.indexOf(reader.segment) + 1];
      if (next === undefined) return;
      this.#closeReader();
      this.#readFile = { segment: next, fd: openSync(this.#path(next.id), "r") };
    }
  }

  #openReader(): { segment: Segment; fd: number } {
    const segment = this.#segments[0] ?? this.#last();
    return { segment, fd: openSync(this.#path(segment.id), "r") };
  }

  #closeReader(): void {
    if (this.#readFile !== undefined) closeSync(this.#readFile.fd);
    this.#readFile = undefined;
    this.#readAt = 0;
  }

  /** Reads whole lines from where the reader stands; at the torn end of a segment the reader goes to its end. */
  #readLines(segment: Segment, fd: number): void {
    const left = segment.sizeBytes - this.#readAt;
    for (let length = Math.min(READ_BYTES, left); ; length = Math.min(length * 2, left)) {
      const buffer = Buffer.allocUnsafe(length);
      const got = buffer.subarray(0, readSync(fd, buffer, 0, length, this.#readAt));
      const end = got.lastIndexOf(NEWLINE) + 1;
      if (end > 0) return this.#takeLines(segment, got.subarray(0, end));
      if (length < left && got.length === length) continue;
      this.#log.warn("the last event of a segment of the queue on disk is torn", { file: this.#path(segment.id) });
      this.#readAt = segment.sizeBytes;
      return;
    }
  }

  #takeLines(segment: Segment, lines: Buffer): void {
    for (let start = 0; start < lines.length; ) {
      const end = lines.indexOf(NEWLINE, start);
      this.#readAt += end + 1 - start;
      const event = parseLine(lines.toString("utf8", start, end));
      start = end + 1;
      if (event !== undefined) {
        this.#ahead.push({ event, segment, end: this.#readAt });
        continue;
      }
      segment.events--;
      this.#size--;
      this.#log.error("an event in the queue on disk is damaged and left out", { file: this.#path(segment.id), offset: this.#readAt });
    }
  }

  #findSegments(cursor: { readonly segment: number; readonly offset: number }): Segment[] {
    const ids = readdirSync(this.#folder)
      .flatMap((name) => /^(\d{12})\.log$/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b);
    const segments: Segment[] = [];
    for (const id of ids) {
      const content = id < cursor.segment ? undefined : readFileSync(this.#path(id));
      const start = id === cursor.segment ? cursor.offset : 0;
      if (content === undefined || content.length <= start) {
        unlinkSync(this.#path(id));
        continue;
      }
      const segment = { id, sizeBytes: content.length, events: countLines(content, start) };
      segments.push(segment);
      this.#size += segment.events;
    }
    return segments;
  }

  #path(id: number): string {
    return join(this.#folder, `${String(id).padStart(12, "0")}.log`);
  }

  #readCursor(): { segment: number; offset: number } {
    const fd = openSync(join(this.#folder, "cursor"), "a+", 0o600);
    try {
      const buffer = Buffer.alloc(Math.min(fstatSync(fd).size, CURSOR_WIDTH));
      readSync(fd, buffer, 0, buffer.length, 0);
      const match = /^(\d+) (\d+) *\n$/.exec(buffer.toString("latin1"));
      return { segment: Number(match?.[1] ?? 0), offset: Number(match?.[2] ?? 0) };
    } finally {
      closeSync(fd);
    }
  }

  #writeCursor(segment: number, offset: number): void {
    try {
      writeSync(this.#cursorFile, `${segment} ${offset}`.padEnd(CURSOR_WIDTH - 1).concat("\n"), 0);
    } catch (error) {
      this.#log.error("the position in the queue on disk cannot be kept: events may come twice", { folder: this.#folder, "err.message": messageOf(error) });
    }
  }
}

function checksum(json: string): string {
  return Bun.hash.crc32(json).toString(16).padStart(8, "0");
}

function parseLine(line: string): EnvelopeEvent | undefined {
  const json = line.slice(9);
  return line[8] === " " && line.slice(0, 8) === checksum(json) ? (JSON.parse(json) as EnvelopeEvent) : undefined;
}

function countLines(content: Buffer, start: number): number {
  let lines = 0;
  for (let at = content.indexOf(NEWLINE, start); at >= 0; at = content.indexOf(NEWLINE, at + 1)) lines++;
  return lines;
}

function sync(fd: number, log: Logger): Promise<void> {
  return new Promise((resolve) => {
    fdatasync(fd, (error) => {
      if (error !== null) log.error("the queue on disk cannot be synced", { "err.message": error.message });
      resolve();
    });
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
