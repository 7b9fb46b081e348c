import type { ListObjectsV2Command } from "@aws-sdk/client-s3";
import type { ListedObject } from "../object-store/multipart/bucket.ts";

const ENTRY = /<(Contents|CommonPrefixes)(?:\s[^>]*)?>(.*?)<\/\1>/gs;
const DOCUMENT_END = "</ListBucketResult>";
const NAMED_CHARACTERS: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

/** One page of a listing. */
export interface Listing {
  readonly objects: readonly ListedObject[];
  /** What keys have in common up to a delimiter, which is at the end of each. */
  readonly directories: readonly string[];
  /** To be given back for the next page; undefined when this was the last. */
  readonly next: string | undefined;
}

/**
 * Reads the answer to a command in the SDK's place, whose tree of all that is said takes ten times as long to make as what is wanted
 * of it. What is no listing as expected stays the SDK's.
 * @returns What gives the listing when the command was sent; undefined when the SDK has read the answer.
 */
export function readListing(command: ListObjectsV2Command): () => Listing | undefined {
  let listing: Listing | undefined;
  command.middlewareStack.add(
    (next) => async (args) => {
      listing = undefined;
      const result = await next(args);
      const response = result.response as { readonly statusCode: number; body: unknown };
      if (response.statusCode !== 200 || !(response.body instanceof Uint8Array)) return result;
      listing = parseListing(Buffer.from(response.body.buffer, response.body.byteOffset, response.body.byteLength).toString());
      if (listing !== undefined) response.body = new Uint8Array();
      return result;
    },
    // Between the SDK's own reading and what sends.
    { step: "deserialize", priority: "low", name: "readListing" },
  );
  return () => listing;
}

/** Reads a `ListBucketResult`. @returns undefined for any other document, one that breaks off, and one that is written in unusual ways */
export function parseListing(xml: string): Listing | undefined {
  if (!xml.includes("<ListBucketResult") || !xml.trimEnd().endsWith(DOCUMENT_END) || xml.includes("<![CDATA[") || xml.includes("<!--")) return undefined;
  const objects: ListedObject[] = [];
  const directories: string[] = [];
  for (const [, kind, content = ""] of xml.matchAll(ENTRY)) {
    const name = textOf(content, kind === "Contents" ? "Key" : "Prefix");
    if (name === undefined) return undefined;
    if (kind === "Contents") objects.push({ key: name, sizeBytes: Number(textOf(content, "Size") ?? 0), modifiedAt: new Date(textOf(content, "LastModified") ?? 0) });
    else directories.push(name);
  }
  const isTruncated = textOf(xml, "IsTruncated") === "true";
  return { objects, directories, next: isTruncated ? textOf(xml, "NextContinuationToken") : undefined };
}

/** The text of the first element of a name, which has no others in it; undefined when there is none, or nothing in it. */
function textOf(xml: string, name: string): string | undefined {
  const start = xml.indexOf(`<${name}>`);
  if (start === -1) return undefined;
  const from = start + name.length + 2;
  const to = xml.indexOf("<", from);
  return to <= from ? undefined : unescaped(xml.slice(from, to));
}

function unescaped(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&(?:#x([0-9a-fA-F]+)|#([0-9]+)|([a-z]+));/g, (whole, hex: string | undefined, decimal: string | undefined, name: string | undefined) => {
    if (name !== undefined) return NAMED_CHARACTERS[name] ?? whole;
    return String.fromCodePoint(hex === undefined ? Number(decimal) : Number.parseInt(hex, 16));
  });
}
