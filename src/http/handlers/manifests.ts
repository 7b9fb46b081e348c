import { type Digest, isDigest, parseDigest } from "../../oci/digest.ts";
import { RegistryError } from "../../oci/errors.ts";
import { MEDIA_TYPES } from "../../oci/media-types.ts";
import { isTag, parseTag, type Tag } from "../../oci/name.ts";
import type { ByteSource, ManifestReference, StoredManifest } from "../../registry/registry.ts";
import { accepts } from "../accept.ts";
import { readBody, watchedBody } from "../body.ts";
import { matchesEtag } from "../conditional.ts";
import type { RequestContext } from "../context.ts";
import { emptyReply, type Reply } from "../reply.ts";
import type { HeldBody } from "../upload-slots.ts";

/** Most tags that one push may set with `?tag=`. */
const MAX_TAGS = 64;

/** Sends a manifest, or for HEAD says what it is. @see OCI distribution-spec, "Pulling manifests" */
export async function getManifest(context: RequestContext): Promise<Reply> {
  const reference = readReference(context);
  const stored = await context.registry.manifests.get(context.repository, reference);
  const manifest = await choosePlatform(context, reference, stored);
  const { digest, mediaType, bytes } = manifest;
  const ifNoneMatch = context.request.headers.get("if-none-match");
  if (ifNoneMatch !== null && matchesEtag(ifNoneMatch, digest)) return emptyReply(304, { "Docker-Content-Digest": digest, Etag: `"${digest}"` });
  if (context.parts.events !== undefined) {
    context.emit({ action: "pull", digest, mediaType, sizeBytes: bytes.length, url: context.urls.manifest(context.repository, digest), ...("tag" in reference ? { tag: reference.tag } : {}) });
  }
  const headers: Record<string, string> = { "Content-Type": mediaType, "Content-Length": String(bytes.length), "Docker-Content-Digest": digest, Etag: `"${digest}"` };
  if (context.request.method === "HEAD") return { status: 200, headers, body: null, sizeBytes: 0 };
  return { status: 200, headers, body: bytes, sizeBytes: bytes.length };
}

/** Stores a manifest and sets its tags. @see OCI distribution-spec, "Pushing Manifests" */
export async function putManifest(context: RequestContext): Promise<Reply> {
  const reference = readReference(context);
  const digest = "digest" in reference ? reference.digest : undefined;
  const tags = pushedTags(context, reference);
  const grantedClasses = context.grant.classesOf?.(context.repository);
  using held = context.parts.uploadSlots.hold();
  const put = await context.registry.manifests.put(context.repository, {
    bytes: await readManifest(context, held),
    contentType: context.contentType(),
    digest,
    tags,
    ...(grantedClasses === undefined ? {} : { grantedClasses }),
  });
  const url = context.urls.manifest(context.repository, put.digest);
  for (const tag of tags.length === 0 ? [undefined] : tags) {
    context.emit({ action: "push", digest: put.digest, mediaType: put.mediaType, sizeBytes: put.sizeBytes, url, references: put.references, ...(tag === undefined ? {} : { tag }) });
  }
  const headers: Record<string, string> = { Location: url, "Docker-Content-Digest": put.digest };
  if (put.subject !== undefined) headers["OCI-Subject"] = put.subject;
  if (digest !== undefined && tags.length > 0) headers["OCI-Tag"] = tags.join(", ");
  return emptyReply(201, headers);
}

/** Deletes a tag, or a manifest with its tags. @see OCI distribution-spec, "Deleting tags", "Deleting Manifests" */
export async function deleteManifest(context: RequestContext): Promise<Reply> {
  const reference = readReference(context);
  if ("tag" in reference) {
    await context.registry.tags.delete(context.repository, reference.tag);
    context.emit({ action: "delete", tag: reference.tag });
    return emptyReply(202);
  }
  const tags = await context.registry.manifests.delete(context.repository, reference.digest);
  context.emit({ action: "delete", digest: reference.digest });
  for (const tag of tags) context.emit({ action: "delete", tag });
  return emptyReply(202);
}

function readReference(context: RequestContext): ManifestReference {
  const text = context.argument;
  if (isTag(text)) return { tag: text };
  if (text.includes(":")) return { digest: parseDigest(text) };
  const reading = context.request.method === "GET" || context.request.method === "HEAD";
  if (reading) throw new RegistryError("MANIFEST_UNKNOWN", { detail: `unknown tag=${text}` });
  throw new RegistryError("TAG_INVALID", { message: "invalid tag", detail: { tag: text } });
}

function pushedTags(context: RequestContext, reference: ManifestReference): readonly Tag[] {
  if ("tag" in reference) return [reference.tag];
  if (!context.queryText.includes("tag=")) return [];
  const tags = [...new Set(context.query.getAll("tag"))];
  if (tags.length > MAX_TAGS) throw new RegistryError("TAG_INVALID", { message: "too many tags", detail: { limit: MAX_TAGS } });
  return tags.map(parseTag);
}

async function readManifest(context: RequestContext, held: HeldBody): Promise<Uint8Array> {
  const { maxManifestBytes, stallTimeoutMs } = context.parts.options;
  const tooLarge = (): RegistryError => new RegistryError("MANIFEST_INVALID", { status: 413, detail: `the manifest is larger than ${maxManifestBytes} bytes` });
  if ((context.contentLength() ?? 0) > maxManifestBytes) throw tooLarge();
  const body = context.request.body;
  return body === null ? new Uint8Array() : await readBody(counted(watchedBody(body, stallTimeoutMs), held), maxManifestBytes, tooLarge);
}

async function* counted(source: ByteSource, held: HeldBody): ByteSource {
  for await (const chunk of source) {
    held.add(chunk.length);
    yield chunk;
  }
}

/** Old clients that know no lists get the linux/amd64 image of a Docker list that they ask for by tag, as from distribution. */
async function choosePlatform(context: RequestContext, reference: ManifestReference, stored: StoredManifest): Promise<StoredManifest> {
  if (stored.mediaType !== MEDIA_TYPES.dockerList || !("tag" in reference)) return stored;
  const accept = context.request.headers.get("accept");
  if (accepts(accept, MEDIA_TYPES.dockerList)) return stored;
  const child = defaultChild(stored.bytes);
  if (child === undefined) {
    throw new RegistryError("MANIFEST_UNKNOWN", { message: "manifest list found, but the Accept header does not support manifest lists and it has no linux/amd64 manifest" });
  }
  return await context.registry.manifests.get(context.repository, { digest: child });
}

function defaultChild(bytes: Uint8Array): Digest | undefined {
  const list = JSON.parse(new TextDecoder().decode(bytes)) as { manifests?: { digest: string; platform?: { architecture?: string; os?: string } }[] };
  const child = list.manifests?.find((item) => item.platform?.architecture === "amd64" && item.platform.os === "linux");
  return child !== undefined && isDigest(child.digest) ? child.digest : undefined;
}
