import type { Access } from "../auth/controller.ts";
import type { RequestContext } from "./context.ts";
import { getBase } from "./handlers/base.ts";
import { deleteBlob, getBlob, headBlob } from "./handlers/blobs.ts";
import { getCatalog } from "./handlers/catalog.ts";
import { getExtensions } from "./handlers/extensions.ts";
import { deleteManifest, getManifest, putManifest } from "./handlers/manifests.ts";
import { getReferrers } from "./handlers/referrers.ts";
import { getTags } from "./handlers/tags.ts";
import { cancelUpload, finishUpload, patchUpload, startUpload, uploadStatus } from "./handlers/uploads.ts";
import type { Resource } from "./match.ts";
import type { Reply } from "./reply.ts";

/** What a request must be allowed, by the names of the table below. */
export type RequiredAccess = "login" | "pull" | "push" | "delete" | "catalog";

/** One thing that the API can be asked to do. */
export interface Route {
  readonly resource: Resource;
  /** `*`: every method that no other row of the resource names. */
  readonly method: string;
  /** As the documentation writes it. */
  readonly path: string;
  readonly access: RequiredAccess;
  /** Whether it is refused in read-only mode. */
  readonly writes: boolean;
  readonly handle: (context: RequestContext) => Promise<Reply>;
}

/** Every route of the API. */
export const ROUTES: readonly Route[] = [
  { resource: "base", method: "*", path: "/v2/", access: "login", writes: false, handle: getBase },
  { resource: "catalog", method: "GET", path: "/v2/_catalog", access: "catalog", writes: false, handle: getCatalog },
  { resource: "extensions", method: "GET", path: "/v2/_oci/ext/discover", access: "login", writes: false, handle: getExtensions },
  { resource: "tags", method: "GET", path: "/v2/<name>/tags/list", access: "pull", writes: false, handle: getTags },
  { resource: "tags", method: "HEAD", path: "/v2/<name>/tags/list", access: "pull", writes: false, handle: getTags },
  { resource: "manifest", method: "GET", path: "/v2/<name>/manifests/<reference>", access: "pull", writes: false, handle: getManifest },
  { resource: "manifest", method: "HEAD", path: "/v2/<name>/manifests/<reference>", access: "pull", writes: false, handle: getManifest },
  { resource: "manifest", method: "PUT", path: "/v2/<name>/manifests/<reference>", access: "push", writes: true, handle: putManifest },
  { resource: "manifest", method: "DELETE", path: "/v2/<name>/manifests/<reference>", access: "delete", writes: true, handle: deleteManifest },
  { resource: "referrers", method: "GET", path: "/v2/<name>/referrers/<digest>", access: "pull", writes: false, handle: getReferrers },
  { resource: "referrers", method: "HEAD", path: "/v2/<name>/referrers/<digest>", access: "pull", writes: false, handle: getReferrers },
  { resource: "blob", method: "GET", path: "/v2/<name>/blobs/<digest>", access: "pull", writes: false, handle: getBlob },
  { resource: "blob", method: "HEAD", path: "/v2/<name>/blobs/<digest>", access: "pull", writes: false, handle: headBlob },
  { resource: "blob", method: "DELETE", path: "/v2/<name>/blobs/<digest>", access: "delete", writes: true, handle: deleteBlob },
  { resource: "blob_upload", method: "POST", path: "/v2/<name>/blobs/uploads/", access: "push", writes: true, handle: startUpload },
  { resource: "blob_upload_chunk", method: "GET", path: "/v2/<name>/blobs/uploads/<id>", access: "pull", writes: false, handle: uploadStatus },
  { resource: "blob_upload_chunk", method: "HEAD", path: "/v2/<name>/blobs/uploads/<id>", access: "pull", writes: false, handle: uploadStatus },
  { resource: "blob_upload_chunk", method: "PATCH", path: "/v2/<name>/blobs/uploads/<id>", access: "push", writes: true, handle: patchUpload },
  { resource: "blob_upload_chunk", method: "PUT", path: "/v2/<name>/blobs/uploads/<id>", access: "push", writes: true, handle: finishUpload },
  { resource: "blob_upload_chunk", method: "DELETE", path: "/v2/<name>/blobs/uploads/<id>", access: "delete", writes: true, handle: cancelUpload },
];

const BY_RESOURCE = new Map<Resource, ReadonlyMap<string, Route>>();
for (const route of ROUTES) {
  BY_RESOURCE.set(route.resource, new Map([...(BY_RESOURCE.get(route.resource) ?? []), [route.method, route]]));
}

/** The row for a resource and a method; undefined when the method is not among the resource's. */
export function findRoute(resource: Resource, method: string): Route | undefined {
  const methods = BY_RESOURCE.get(resource);
  return methods?.get(method) ?? methods?.get("*");
}

/** The methods of a resource, sorted, as `Allow` gives them. */
export function allowedMethods(resource: Resource): string {
  return [...(BY_RESOURCE.get(resource)?.keys() ?? [])].sort().join(", ");
}

/**
 * The access records of a request, as distribution asks for them: a push is pull and push.
 * @param from The repository that a mount names.
 */
export function requiredAccess(access: RequiredAccess, name: string, from?: string): readonly Access[] {
  const records: Access[] = [];
  const repository = (action: Access["action"], of = name): number => records.push({ type: "repository", name: of, action });
  switch (access) {
    case "login":
      break;
    case "catalog":
      records.push({ type: "registry", name: "catalog", action: "*" });
      break;
    case "push":
      repository("pull");
      repository("push");
      break;
    default:
      repository(access);
  }
  if (from !== undefined) repository("pull", from);
  return records;
}
