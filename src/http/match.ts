import { hasNameForm } from "../oci/name.ts";

/** The resources that requests can name; also the metrics' handler labels of distribution. */
export const RESOURCES = ["base", "catalog", "tags", "manifest", "blob", "blob_upload", "blob_upload_chunk", "referrers", "extensions"] as const;

/** A resource that a request can name. */
export type Resource = (typeof RESOURCES)[number];

/** What a path names. Name and argument are raw: their grammar is checked after authorization. */
export interface Match {
  readonly resource: Resource;
  /** Repository; empty for resources of the whole registry. */
  readonly name: string;
  /** Reference, digest or upload id; empty where there is none. */
  readonly argument: string;
}

/** The path is one of ours but for a slash: go there. */
export interface Redirection {
  readonly redirectTo: string;
}

const WHOLE: ReadonlyMap<string, Resource> = new Map([["", "base"], ["_catalog", "catalog"], ["_oci/ext/discover", "extensions"]]);
const UPLOAD_ID = /^[a-zA-Z0-9\-_.=]+$/;

/**
 * Finds what a decoded path below `/v2` names.
 * @param path Everything after the prefix, beginning with `/v2`.
 * @returns Undefined when it names nothing.
 */
export function matchPath(path: string): Match | Redirection | undefined {
  if (path === "/v2") return { redirectTo: "/v2/" };
  if (!path.startsWith("/v2/")) return undefined;
  const rest = path.slice(4);
  const whole = WHOLE.get(rest);
  if (whole !== undefined) return { resource: whole, name: "", argument: "" };
  return matchRepositoryPath(rest) ?? slashRedirection(path, rest);
}

function matchRepositoryPath(rest: string): Match | undefined {
  const last = rest.lastIndexOf("/");
  const before = rest.lastIndexOf("/", last - 1);
  if (last < 1 || before < 1) return undefined;
  const argument = rest.slice(last + 1);
  const kind = rest.slice(before + 1, last);
  switch (kind) {
    case "tags":
      return argument === "list" ? { resource: "tags", name: rest.slice(0, before), argument: "" } : undefined;
    case "manifests":
      return argument === "" ? undefined : { resource: "manifest", name: rest.slice(0, before), argument };
    case "referrers":
      return argument === "" ? undefined : { resource: "referrers", name: rest.slice(0, before), argument };
    case "blobs":
      return argument.includes(":") ? { resource: "blob", name: rest.slice(0, before), argument } : undefined;
    case "uploads":
      return matchUpload(rest, before, argument);
    default:
      return undefined;
  }
}

function matchUpload(rest: string, before: number, id: string): Match | undefined {
  if (!rest.slice(0, before).endsWith("/blobs")) return undefined;
  const name = rest.slice(0, before - "/blobs".length);
  if (id === "") return { resource: "blob_upload", name, argument: "" };
  return UPLOAD_ID.test(id) && id !== "." && id !== ".." ? { resource: "blob_upload_chunk", name, argument: id } : undefined;
}

function slashRedirection(path: string, rest: string): Redirection | undefined {
  const other = rest.endsWith("/") ? rest.slice(0, -1) : `${rest}/`;
  if (other === "") return undefined;
  const match = !WHOLE.has(other) ? matchRepositoryPath(other) : undefined;
  if (!WHOLE.has(other) && (match === undefined || !hasNameForm(match.name))) return undefined;
  return { redirectTo: rest.endsWith("/") ? path.slice(0, -1) : `${path}/` };
}
