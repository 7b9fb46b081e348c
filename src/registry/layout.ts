import { algorithmOf, type Digest, hexOf, isDigest } from "../oci/digest.ts";
import type { RepositoryName, Tag } from "../oci/name.ts";

/*
 * Every path that the registry writes, as CNCF distribution 2.x and 3.x lay them out:
 *
 *   /docker/registry/v2
 *   ├── blobs/<alg>/<hh>/<hex>/data                       the bytes of a layer, config or manifest
 *   └── repositories/<name>
 *       ├── _layers/<alg>/<hex>/link                      the repository has this blob
 *       ├── _manifests
 *       │   ├── revisions/<alg>/<hex>/link                the repository has this manifest
 *       │   ├── tags/<tag>/current/link                   what the tag points to
 *       │   └── tags/<tag>/index/<alg>/<hex>/link         what it has ever pointed to
 *       ├── _referrers                                    ours, derivable from the manifests
 *       │   ├── indexed                                   the manifests that were there before us are in the index
 *       │   └── <alg>/<hex>/<alg>/<hex>/link              subject, then the manifest that refers to it
 *       └── _uploads/<id>
 *           ├── startedat                                 RFC 3339, UTC, whole seconds
 *           └── data                                      the bytes so far
 *
 * A link file holds a digest and nothing else, no newline. What distribution does not know (`_referrers`) starts with an
 * underscore, as its walks skip such folders.
 */

/** Where everything of the registry lives below the driver's root. */
export const ROOT = "/docker/registry/v2";

/** The folder of all blobs. */
export const BLOBS = `${ROOT}/blobs`;

/** The folder of all repositories. */
export const REPOSITORIES = `${ROOT}/repositories`;

/** The folder that holds a blob's `data`; deleted whole when the blob is collected. */
export function blobFolder(digest: Digest): string {
  const hex = hexOf(digest);
  return `${BLOBS}/${algorithmOf(digest)}/${hex.slice(0, 2)}/${hex}`;
}

/** A blob's bytes. */
export function blobData(digest: Digest): string {
  return `${blobFolder(digest)}/data`;
}

/** The folder of a repository. */
export function repositoryFolder(name: RepositoryName): string {
  return `${REPOSITORIES}/${name}`;
}

/** The folder of a repository's blob links: `<alg>/<hex>/link` below it. */
export function layersFolder(name: RepositoryName): string {
  return `${REPOSITORIES}/${name}/_layers`;
}

/** The link that makes a blob readable in a repository. */
export function layerLink(name: RepositoryName, digest: Digest): string {
  return `${REPOSITORIES}/${name}/_layers/${algorithmOf(digest)}/${hexOf(digest)}/link`;
}

/** The folder whose existence makes a repository appear in the catalog. */
export function manifestsFolder(name: RepositoryName): string {
  return `${REPOSITORIES}/${name}/_manifests`;
}

/** The folder of a repository's manifest links: `<alg>/<hex>/link` below it. */
export function revisionsFolder(name: RepositoryName): string {
  return `${REPOSITORIES}/${name}/_manifests/revisions`;
}

/** The link that makes a manifest readable in a repository. */
export function revisionLink(name: RepositoryName, digest: Digest): string {
  return `${REPOSITORIES}/${name}/_manifests/revisions/${algorithmOf(digest)}/${hexOf(digest)}/link`;
}

/** The folder whose children are a repository's tags. */
export function tagsFolder(name: RepositoryName): string {
  return `${REPOSITORIES}/${name}/_manifests/tags`;
}

/** The folder of one tag. */
export function tagFolder(name: RepositoryName, tag: Tag): string {
  return `${REPOSITORIES}/${name}/_manifests/tags/${tag}`;
}

/** The link to what a tag points to. */
export function tagCurrentLink(name: RepositoryName, tag: Tag): string {
  return `${REPOSITORIES}/${name}/_manifests/tags/${tag}/current/link`;
}

/** The folder of everything that a tag has pointed to: `<alg>/<hex>/link` below it. */
export function tagIndexFolder(name: RepositoryName, tag: Tag): string {
  return `${REPOSITORIES}/${name}/_manifests/tags/${tag}/index`;
}

/** The link that remembers that a tag once pointed to a manifest. */
export function tagIndexLink(name: RepositoryName, tag: Tag, digest: Digest): string {
  return `${tagIndexFolder(name, tag)}/${algorithmOf(digest)}/${hexOf(digest)}/link`;
}

/** The folder of a repository's referrer index: `<alg>/<hex of the subject>` below it. */
export function referrersFolder(name: RepositoryName): string {
  return `${REPOSITORIES}/${name}/_referrers`;
}

/** The empty file that says that every manifest of a repository was looked at for the referrer index. */
export function referrersIndexed(name: RepositoryName): string {
  return `${REPOSITORIES}/${name}/_referrers/indexed`;
}

/** The folder of the links to the manifests that refer to a subject: `<alg>/<hex>/link` below it. */
export function subjectFolder(name: RepositoryName, subject: Digest): string {
  return `${REPOSITORIES}/${name}/_referrers/${algorithmOf(subject)}/${hexOf(subject)}`;
}

/** The link from a subject to a manifest that refers to it. */
export function referrerLink(name: RepositoryName, subject: Digest, referrer: Digest): string {
  return `${subjectFolder(name, subject)}/${algorithmOf(referrer)}/${hexOf(referrer)}/link`;
}

/** The folder of a repository's unfinished uploads. */
export function uploadsFolder(name: RepositoryName): string {
  return `${REPOSITORIES}/${name}/_uploads`;
}

/** The folder of one upload. */
export function uploadFolder(name: RepositoryName, id: string): string {
  return `${REPOSITORIES}/${name}/_uploads/${id}`;
}

/** The bytes of an upload so far. */
export function uploadData(name: RepositoryName, id: string): string {
  return `${REPOSITORIES}/${name}/_uploads/${id}/data`;
}

/** When an upload began. */
export function uploadStartedAt(name: RepositoryName, id: string): string {
  return `${REPOSITORIES}/${name}/_uploads/${id}/startedat`;
}

/** The digest that a path `…/<alg>/<hex>/link`, `…/<alg>/<hh>/<hex>/data` or its folder stands for; undefined when it stands for none. */
export function digestFromPath(path: string): Digest | undefined {
  const parts = path.split("/");
  const last = parts.at(-1);
  if (last === "link" || last === "data") parts.pop();
  const hex = parts.pop() ?? "";
  let algorithm = parts.pop() ?? "";
  if (algorithm.length === 2 && hex.startsWith(algorithm)) algorithm = parts.pop() ?? "";
  const digest = `${algorithm}:${hex}`;
  return isDigest(digest) ? digest : undefined;
}
