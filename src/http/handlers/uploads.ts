import { type Digest, digestOf, isDigest, isDigestAlgorithm, parseDigest } from "../../oci/digest.ts";
import { RegistryError } from "../../oci/errors.ts";
import { MEDIA_TYPES } from "../../oci/media-types.ts";
import { isName, type RepositoryName } from "../../oci/name.ts";
import type { AppendOptions, BlobInfo, ByteSource, MountedBlob, UploadInfo } from "../../registry/registry.ts";
import { watchedBody } from "../body.ts";
import type { RequestContext } from "../context.ts";
import { readForm } from "../form.ts";
import { parseContentRange } from "../range.ts";
import { emptyReply, type Reply } from "../reply.ts";

const CATALOG_PAGE = 500;
/** How many repositories a mount without a source looks in; beyond that the client uploads, as it does when none has the blob. */
const MAX_MOUNT_SOURCES = 20_000;

/** Begins an upload, mounts a blob from another repository, or takes a whole blob at once. @see OCI distribution-spec, "Pushing blobs" */
export async function startUpload(context: RequestContext): Promise<Reply> {
  // With a digest in the query the body is the blob, whatever type a careless client gives it.
  const form = context.query.has("digest") ? context.query : await readForm(context);
  const mount = form.get("mount");
  if (mount !== null && isDigest(mount)) {
    const mounted = await mountBlob(context, mount, form.get("from"));
    if (mounted !== undefined) return blobCreated(context, mounted);
  }
  // Of a form the body is read: it cannot be a blob, too.
  const digest = context.query.get("digest");
  if (digest !== null && mount === null && hasWholeBlob(context, digest)) return await putWhole(context, parseDigest(digest));
  const algorithm = form.get("digest-algorithm") ?? "";
  if (algorithm !== "" && !isDigestAlgorithm(algorithm)) throw new RegistryError("DIGEST_INVALID", { detail: "unsupported digest algorithm" });
  const upload = await context.registry.uploads.start(context.repository, isDigestAlgorithm(algorithm) ? { algorithm } : {});
  return uploadReply(context, 202, upload);
}

/** Says how far an upload is. */
export async function uploadStatus(context: RequestContext): Promise<Reply> {
  return uploadReply(context, 204, await context.registry.uploads.status(context.repository, context.argument));
}

/** Appends a chunk, or a stream, to an upload. @see OCI distribution-spec, "Pushing a blob in chunks" */
export async function patchUpload(context: RequestContext): Promise<Reply> {
  const options = appendOptions(context);
  using _slot = context.parts.uploadSlots.take();
  const upload = await context.registry.uploads.append(context.repository, context.argument, body(context) ?? nothing(), options);
  return uploadReply(context, 202, upload);
}

/** Ends an upload: the last bytes, and the digest that all of them must have. */
export async function finishUpload(context: RequestContext): Promise<Reply> {
  const options = appendOptions(context);
  const text = context.query.get("digest");
  if (text === null || text === "") throw new RegistryError("DIGEST_INVALID", { detail: "digest missing" });
  if (!isDigest(text)) throw new RegistryError("DIGEST_INVALID", { detail: "digest parsing failed" });
  using _slot = context.parts.uploadSlots.take();
  const blob = await context.registry.uploads.finish(context.repository, context.argument, body(context), { ...options, digest: text });
  emitPush(context, blob);
  return blobCreated(context, blob);
}

/** Discards an upload. */
export async function cancelUpload(context: RequestContext): Promise<Reply> {
  checkState(context);
  await context.registry.uploads.cancel(context.repository, context.argument);
  return emptyReply(204, { "Docker-Upload-Uuid": context.argument });
}

function checkState(context: RequestContext): number {
  return context.parts.tokens.unpack(context.query.get("_state"), context.repository, context.argument).offset;
}

function appendOptions(context: RequestContext): AppendOptions {
  const stateOffset = checkState(context);
  const lengthBytes = context.contentLength();
  const header = context.request.headers.get("content-range");
  const signal = context.request.signal;
  if (header === null || header === "") return { offset: stateOffset, signal, ...(lengthBytes === undefined ? {} : { lengthBytes }) };
  const range = parseContentRange(header);
  if (range === undefined || range.end < range.start) {
    throw new RegistryError("RANGE_INVALID", { detail: "the Content-Range of a chunk has the form <first byte>-<last byte>" });
  }
  const announced = range.end - range.start + 1;
  if (lengthBytes !== undefined && lengthBytes !== announced) throw new RegistryError("SIZE_INVALID", { detail: "the Content-Length is not the length of the Content-Range" });
  return { offset: range.start, signal, lengthBytes: announced };
}

function body(context: RequestContext): ByteSource | undefined {
  const stream = context.request.body;
  return stream === null ? undefined : watchedBody(stream, context.parts.options.stallTimeoutMs);
}

async function* nothing(): ByteSource {}

// A client that announces a digest and sends nothing wants an upload, as from distribution, unless nothing is what it wants to send.
function hasWholeBlob(context: RequestContext, digest: string): boolean {
  const length = context.contentLength();
  if (context.request.headers.get("transfer-encoding") !== null) return true;
  if (length !== undefined && length > 0) return true;
  return isDigest(digest) && digest === digestOf("", digest.slice(0, 6) as "sha256");
}

async function putWhole(context: RequestContext, digest: Digest): Promise<Reply> {
  using _slot = context.parts.uploadSlots.take();
  const blob = await context.registry.uploads.put(context.repository, body(context) ?? nothing(), digest);
  emitPush(context, blob);
  return blobCreated(context, blob);
}

async function mountBlob(context: RequestContext, digest: Digest, from: string | null): Promise<MountedBlob | undefined> {
  const sources = from === null || from === "" ? readableRepositories(context) : namedSource(context, from);
  const mounted = await context.registry.blobs.mount(context.repository, digest, sources);
  if (mounted !== undefined) {
    context.emit({ action: "mount", digest, mediaType: MEDIA_TYPES.octetStream, sizeBytes: mounted.sizeBytes, fromRepository: mounted.from, url: context.urls.blob(context.repository, digest) });
  }
  return mounted;
}

// A source named in the query was authorized with the request; one named in a form was not.
function namedSource(context: RequestContext, from: string): readonly RepositoryName[] {
  if (!isName(from)) return [];
  return context.grant.mayPull === undefined || context.grant.mayPull(from) ? [from] : [];
}

async function* readableRepositories(context: RequestContext): AsyncIterable<RepositoryName> {
  const { mayPull } = context.grant;
  let last: string | undefined;
  let seen = 0;
  while (seen < MAX_MOUNT_SOURCES) {
    const page = await context.registry.catalog.list({ limit: CATALOG_PAGE, ...(last === undefined ? {} : { last }) });
    for (const name of page.items) if (mayPull === undefined || mayPull(name)) yield name;
    seen += page.items.length;
    last = page.items.at(-1);
    if (!page.more || last === undefined) return;
  }
}

function emitPush(context: RequestContext, blob: BlobInfo): void {
  context.emit({ action: "push", digest: blob.digest, mediaType: MEDIA_TYPES.octetStream, sizeBytes: blob.sizeBytes, url: context.urls.blob(context.repository, blob.digest) });
}

function blobCreated(context: RequestContext, blob: BlobInfo): Reply {
  return emptyReply(201, { Location: context.urls.blob(context.repository, blob.digest), "Docker-Content-Digest": blob.digest });
}

function uploadReply(context: RequestContext, status: 202 | 204, upload: UploadInfo): Reply {
  const state = context.parts.tokens.pack({ name: context.repository, id: upload.id, offset: upload.sizeBytes, startedAt: upload.startedAt });
  return emptyReply(status, {
    Location: context.urls.upload(context.repository, upload.id, state),
    "Docker-Upload-Uuid": upload.id,
    Range: `0-${Math.max(0, upload.sizeBytes - 1)}`,
  });
}
