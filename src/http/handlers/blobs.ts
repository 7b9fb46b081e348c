import { parseDigest } from "../../oci/digest.ts";
import { MEDIA_TYPES } from "../../oci/media-types.ts";
import type { BlobContent } from "../../registry/registry.ts";
import { matchesEtag } from "../conditional.ts";
import type { RequestContext } from "../context.ts";
import { type ResolvedRange, resolveRange } from "../range.ts";
import { emptyReply, jsonReply, type Reply, type ReplyBody } from "../reply.ts";

/** Sends a blob, or a part of it. @see OCI distribution-spec, "Pulling blobs" */
export function getBlob(context: RequestContext): Promise<Reply> {
  return sendBlob(context, "GET");
}

/** Says whether a blob is there, and how long it is. */
export function headBlob(context: RequestContext): Promise<Reply> {
  return sendBlob(context, "HEAD");
}

/** Unlinks a blob from a repository. @see OCI distribution-spec, "Deleting Blobs" */
export async function deleteBlob(context: RequestContext): Promise<Reply> {
  const digest = parseDigest(context.argument);
  await context.registry.blobs.delete(context.repository, digest);
  context.emit({ action: "delete", digest });
  return emptyReply(202);
}

async function sendBlob(context: RequestContext, method: "GET" | "HEAD"): Promise<Reply> {
  const digest = parseDigest(context.argument);
  const blob = await context.registry.blobs.open(context.repository, digest, { method, clientAddress: context.clientAddress });
  if (context.parts.events !== undefined) {
    context.emit({ action: "pull", digest, mediaType: blob.mediaType ?? MEDIA_TYPES.octetStream, sizeBytes: blob.sizeBytes, url: context.urls.blob(context.repository, digest) });
  }
  if (blob.kind === "redirect") return emptyReply(307, { Location: blob.url, "Docker-Content-Digest": digest, "Content-Type": MEDIA_TYPES.octetStream });
  const headers: Record<string, string> = {
    "Content-Type": blob.mediaType ?? MEDIA_TYPES.octetStream,
    "Docker-Content-Digest": digest,
    Etag: `"${digest}"`,
    "Cache-Control": "max-age=31536000",
    "Accept-Ranges": "bytes",
  };
  const request = context.request.headers;
  const ifMatch = request.get("if-match");
  if (ifMatch !== null && !matchesEtag(ifMatch, digest)) return emptyReply(412);
  const ifNoneMatch = request.get("if-none-match");
  if (ifNoneMatch !== null && matchesEtag(ifNoneMatch, digest)) {
    delete headers["Content-Type"];
    delete headers["Accept-Ranges"];
    return emptyReply(304, headers);
  }
  const range = requestedRange(context, blob);
  if (range === "unsatisfiable") return rangeRefusal(context, blob.sizeBytes);
  const { status, offset, length } = partOf(blob, range, headers);
  if (!context.withBody || length === 0) return { status, headers, body: null, sizeBytes: 0 };
  return { status, headers, body: await blobBody(context, blob, { headers, offset, length }), sizeBytes: length };
}

function requestedRange(context: RequestContext, blob: BlobContent): ResolvedRange | "unsatisfiable" | undefined {
  const header = context.request.headers.get("range");
  if (header === null) return undefined;
  const ifRange = context.request.headers.get("if-range");
  if (ifRange !== null && ifRange !== `"${blob.digest}"` && ifRange !== blob.digest) return undefined;
  return resolveRange(header, blob.sizeBytes);
}

function rangeRefusal(context: RequestContext, sizeBytes: number): Reply {
  const entry = { code: "RANGE_INVALID", message: "invalid range: failed to overlap", detail: { length: sizeBytes } };
  return jsonReply(416, { errors: [entry] }, { headers: { "Content-Range": `bytes */${sizeBytes}` }, withBody: context.withBody });
}

/** Which bytes are sent, and the headers that say so. */
function partOf(blob: BlobContent, range: ResolvedRange | undefined, headers: Record<string, string>): { readonly status: number; readonly offset: number; readonly length: number } {
  if (range === undefined) {
    headers["Content-Length"] = String(blob.sizeBytes);
    return { status: 200, offset: 0, length: blob.sizeBytes };
  }
  const length = range.end - range.start + 1;
  headers["Content-Length"] = String(length);
  headers["Content-Range"] = `bytes ${range.start}-${range.end}/${blob.sizeBytes}`;
  return { status: 206, offset: range.start, length };
}

function blobBody(context: RequestContext, blob: Exclude<BlobContent, { kind: "redirect" }>, part: { readonly headers: Record<string, string>; readonly offset: number; readonly length: number }): ReplyBody | Promise<ReplyBody> {
  const whole = part.length === blob.sizeBytes;
  switch (blob.kind) {
    case "bytes":
      return whole ? blob.bytes : blob.bytes.subarray(part.offset, part.offset + part.length);
    case "file":
      // Bun would add a file name of its own; layers are not for a browser to show.
      part.headers["Content-Disposition"] = "attachment";
      if (!whole) return Bun.file(blob.file).slice(part.offset, part.offset + part.length);
      // Bun answers the Range of a request by itself, also one that we decided to ignore; it leaves streams alone.
      return context.request.headers.has("range") ? Bun.file(blob.file).stream() : Bun.file(blob.file);
    case "stream":
      return blob.open(part.offset, part.length);
  }
}
