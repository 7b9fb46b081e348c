import { type Bucket, type ObjectFacts, SESSION_TYPE } from "./bucket.ts";
import { EMPTY_CRC32C, parseCrc32c } from "./crc32c.ts";

/** The generation of an object that is not there. */
export const NO_GENERATION = "0";
/** What sessions take, but for the last bytes: multiples of this. */
export const SESSION_STEP = 256 * 1024;

const URI = "Session-URI";
const OFFSET = "Offset";
/** Ours alone: the checksum of all bytes so far, which a later request goes on with. Distribution leaves it out when it writes. */
const CHECKSUM = "Crc32c";

/*
 * A file that is being written is, as distribution leaves it, an object of the file's own name with a content type of its own. Its
 * metadata name the session of an upload, and how many bytes that has; its content are the bytes after those, as sessions take only
 * multiples of 256 KiB before the end. So either side goes on with what the other began. When the upload is finished, the object that
 * the session makes takes the place of this one.
 */

/** What is stored of a file that somebody wants to write to. */
export interface Unfinished {
  /** Where the bytes are: in a session and in what follows it, in an object that was committed, or nowhere. */
  readonly kind: "nothing" | "session" | "object";
  readonly sizeBytes: number;
  readonly generation: string;
  /** The URI of the session, once there is one. */
  readonly sessionUri: string | undefined;
  /** How many bytes the session has. */
  readonly sessionBytes: number;
  /** The checksum of all bytes; undefined when only the store knows it. */
  readonly crc: number | undefined;
}

/** A file that has no bytes. */
export const NOTHING: Unfinished = { kind: "nothing", sizeBytes: 0, generation: NO_GENERATION, sessionUri: undefined, sessionBytes: 0, crc: EMPTY_CRC32C };

/** Finds out what is stored of a file, whether distribution wrote it or we. */
export async function readUnfinished(bucket: Bucket, key: string): Promise<Unfinished> {
  const facts = await bucket.stat(key);
  if (facts === undefined) return NOTHING;
  const { generation, sizeBytes } = facts;
  if (facts.contentType !== SESSION_TYPE) return { kind: "object", sizeBytes, generation, sessionUri: undefined, sessionBytes: 0, crc: parseCrc32c(facts.crc32c) };
  const sessionBytes = Number(facts.metadata[OFFSET] ?? "0");
  if (!Number.isSafeInteger(sessionBytes) || sessionBytes < 0) throw new Error(`gcs: ${key}: found "${facts.metadata[OFFSET]}" as the offset of an upload, expected a number`);
  return { kind: "session", sizeBytes: sessionBytes + sizeBytes, generation, sessionUri: sessionUriOf(facts), sessionBytes, crc: parseCrc32c(facts.metadata[CHECKSUM]) };
}

/** The session that an object stands for. */
export function sessionUriOf({ contentType, metadata }: ObjectFacts): string | undefined {
  const uri = contentType === SESSION_TYPE ? metadata[URI] : undefined;
  // Distribution writes an empty one when it has sent nothing yet.
  return uri === undefined || !URL.canParse(uri) ? undefined : uri;
}

/** The metadata of an object that stands for a session. */
export function sessionMetadata(session: { readonly uri: string | undefined; readonly bytes: number; readonly crc: string | undefined }): Readonly<Record<string, string>> {
  return { [URI]: session.uri ?? "", [OFFSET]: String(session.bytes), ...(session.crc === undefined ? {} : { [CHECKSUM]: session.crc }) };
}
