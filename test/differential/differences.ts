/** One way in which ours answers otherwise than Debian's distribution 2.8.2, on purpose. The README's table is made of these. */
export interface Difference {
  readonly id: string;
  /** What is asked for. */
  readonly request: string;
  /** What distribution 2.8 answers: a status, an error code where there is one, and what else matters. The tests hold it to it. */
  readonly distribution: string;
  /** What ours answers, in the same form. */
  readonly ours: string;
  /** Why. */
  readonly reason: string;
}

/** Differences that show in single answers; every one of them is seen by a test. */
export const DIFFERENCES = [
  {
    id: "unrouted-path",
    request: "a path that names nothing, or a repository name that cannot be",
    distribution: "404, as text",
    ours: "404 UNSUPPORTED or NAME_INVALID, as JSON",
    reason: "OCI: errors are JSON; clients show the message",
  },
  {
    id: "dots",
    request: "a path with `.` or `..`",
    distribution: "301, to the clean path",
    ours: "404, or whatever else the clean path gives",
    reason: "one round trip less",
  },
  {
    id: "bad-tag",
    request: "a tag that cannot be",
    distribution: "404, as text",
    ours: "400 TAG_INVALID",
    reason: "OCI: errors are JSON; the route exists, the tag is the mistake",
  },
  {
    id: "method",
    request: "a method that a resource does not have, or any change in read-only mode",
    distribution: "405, as text",
    ours: "405 UNSUPPORTED, as JSON",
    reason: "OCI: errors are JSON",
  },
  {
    id: "tags-head",
    request: "HEAD of the tags list",
    distribution: "405",
    ours: "200, with the headers of GET; `Allow` names it",
    reason: "harmless, and asked for by monitors",
  },
  {
    id: "accept-oci",
    request: "GET of an OCI manifest or index with an `Accept` that does not name its type, `*/*` and none included",
    distribution: "404 MANIFEST_UNKNOWN",
    ours: "200, the manifest",
    reason: "OCI and RFC 9110: no `Accept` means anything",
  },
  {
    id: "accept-schema1",
    request: "GET by tag of a Docker manifest with an `Accept` that does not name its type",
    distribution: "400 MANIFEST_INVALID (it tries to convert to schema 1)",
    ours: "200, the manifest",
    reason: "schema 1 is gone; as distribution 3",
  },
  {
    id: "accept-list",
    request: "GET by tag of a Docker list with an `Accept` that does not name its type",
    distribution: "400 MANIFEST_INVALID (it tries to convert the manifest for linux/amd64 to schema 1)",
    ours: "200",
    reason: "schema 1 is gone",
  },
  {
    id: "json-type-put",
    request: "PUT of a manifest as `application/json`",
    distribution: "400 MANIFEST_INVALID (it takes it for schema 1)",
    ours: "201, the type is the one that the manifest names",
    reason: "liberal in what is accepted; nothing wrong is stored",
  },
  {
    id: "schema-version",
    request: "PUT of a manifest with another `schemaVersion` than 2",
    distribution: "500 UNKNOWN",
    ours: "400 MANIFEST_INVALID",
    reason: "it is the client's mistake",
  },
  {
    id: "layer-digest",
    request: "PUT of a manifest that names a digest that cannot be",
    distribution: "500 UNKNOWN",
    ours: "400 DIGEST_INVALID or MANIFEST_INVALID",
    reason: "it is the client's mistake",
  },
  {
    id: "layer-no-digest",
    request: "PUT of a manifest with an empty digest",
    distribution: "400 DIGEST_INVALID and MANIFEST_BLOB_UNKNOWN",
    ours: "400 DIGEST_INVALID",
    reason: "one mistake, one error",
  },
  {
    id: "child-layer",
    request: "PUT of an index whose child is a layer of the repository",
    distribution: "201",
    ours: "400 MANIFEST_BLOB_UNKNOWN",
    reason: "as distribution 3",
  },
  {
    id: "large-manifest",
    request: "PUT of a manifest of more than 4 MiB",
    distribution: "400 MANIFEST_INVALID",
    ours: "413 MANIFEST_INVALID or SIZE_INVALID",
    reason: "OCI",
  },
  {
    id: "bad-reference",
    request: "a digest that cannot be, where a manifest is named",
    distribution: "500 UNKNOWN",
    ours: "400 DIGEST_INVALID",
    reason: "it is the client's mistake",
  },
  {
    id: "layer-as-manifest",
    request: "GET of a layer's digest as a manifest",
    distribution: "500 UNKNOWN",
    ours: "404 MANIFEST_UNKNOWN",
    reason: "as distribution 3",
  },
  {
    id: "absent-not-modified",
    request: "GET of a manifest that does not exist with `If-None-Match` of its digest",
    distribution: "304",
    ours: "404 MANIFEST_UNKNOWN",
    reason: "what is not there has not stayed the same",
  },
  {
    id: "not-modified-manifest",
    request: "GET of a manifest that has not changed, with `If-None-Match`",
    distribution: "304, without `Etag` and digest",
    ours: "304, with `Etag` and digest",
    reason: "RFC 9110 wants them",
  },
  {
    id: "sha512-blob",
    request: "PUT that ends an upload with a sha512 digest",
    distribution: "201, with the sha256 digest in the answer",
    ours: "201, with the client's digest",
    reason: "OCI: the client's digest stays",
  },
  {
    id: "sha512-blob-get",
    request: "GET of a blob by its sha512 digest",
    distribution: "200, with the sha256 digest in the answer",
    ours: "200, with the client's digest",
    reason: "OCI: the client's digest stays",
  },
  {
    id: "sha512-manifest",
    request: "PUT of a manifest by its sha512 digest",
    distribution: "400 DIGEST_INVALID",
    ours: "201",
    reason: "OCI",
  },
  {
    id: "tag-delete",
    request: "DELETE of a tag",
    distribution: "400 DIGEST_INVALID",
    ours: "202",
    reason: "OCI; as distribution 3",
  },
  {
    id: "tag-delete-unknown",
    request: "DELETE of a tag that does not exist",
    distribution: "400 DIGEST_INVALID",
    ours: "404 MANIFEST_UNKNOWN",
    reason: "OCI; as distribution 3",
  },
  {
    id: "no-tags",
    request: "the tags list of a repository that has had tags and has none",
    distribution: "200, `\"tags\":null`",
    ours: "200, `\"tags\":[]`",
    reason: "OCI: it is a list",
  },
  {
    id: "tags-order",
    request: "the tags list of several tags",
    distribution: "200, in the order of the directory",
    ours: "200, in byte order",
    reason: "OCI",
  },
  {
    id: "tags-page",
    request: "the tags list with `n` or `last`",
    distribution: "200, all tags",
    ours: "200, a page, with `Link`",
    reason: "OCI; as distribution 3",
  },
  {
    id: "bad-page",
    request: "a tags list or catalog with an `n` that is no whole number",
    distribution: "200, as if it were not there",
    ours: "400 PAGINATION_NUMBER_INVALID",
    reason: "as distribution 3",
  },
  {
    id: "referrers",
    request: "GET of referrers",
    distribution: "404",
    ours: "200, an index",
    reason: "OCI 1.1",
  },
  {
    id: "extensions",
    request: "GET of `/v2/_oci/ext/discover`",
    distribution: "404",
    ours: "200",
    reason: "OCI",
  },
  {
    id: "query-tags",
    request: "PUT by digest with `?tag=`, then GET of the tag",
    distribution: "404 MANIFEST_UNKNOWN",
    ours: "200",
    reason: "OCI",
  },
  {
    id: "single-post",
    request: "POST with `?digest=` and the whole blob",
    distribution: "202, the body is ignored",
    ours: "201",
    reason: "OCI",
  },
  {
    id: "mount-anywhere",
    request: "POST with `?mount=` and no `from`",
    distribution: "202",
    ours: "201, when some repository that the client may read has the blob",
    reason: "OCI",
  },
  {
    id: "status-without-state",
    request: "GET of an upload without `_state`",
    distribution: "404 BLOB_UPLOAD_INVALID",
    ours: "204",
    reason: "as distribution 3: a client that lost its token can go on",
  },
  {
    id: "patch-type",
    request: "PATCH of an upload with another `Content-Type` than `application/octet-stream`",
    distribution: "500 UNKNOWN",
    ours: "202",
    reason: "the type of bytes does not matter",
  },
  {
    id: "range-order",
    request: "PATCH with a `Content-Range` that does not begin where the upload stands",
    distribution: "202, the range is ignored and the bytes are appended",
    ours: "416 RANGE_INVALID, the upload stays as it was",
    reason: "OCI",
  },
  {
    id: "stale-state",
    request: "PATCH with a `_state` from before the last bytes",
    distribution: "404 BLOB_UPLOAD_INVALID, the upload is gone",
    ours: "416 RANGE_INVALID, the upload stays as it was",
    reason: "as distribution 3",
  },
  {
    id: "forged-state",
    request: "PATCH, PUT or DELETE of an upload with a `_state` that is missing or not ours",
    distribution: "404 BLOB_UPLOAD_INVALID",
    ours: "400 BLOB_UPLOAD_INVALID",
    reason: "the upload may well exist",
  },
  {
    id: "foreign-state",
    request: "GET of an upload under the name of another repository",
    distribution: "404 BLOB_UPLOAD_INVALID",
    ours: "404 BLOB_UPLOAD_UNKNOWN",
    reason: "that repository has no such upload",
  },
  {
    id: "catalog-without-manifests",
    request: "the catalog, of repositories without a manifest",
    distribution: "200, they are listed",
    ours: "200, they are not",
    reason: "as distribution 3",
  },
  {
    id: "bad-range",
    request: "GET of a blob with a range that cannot be served",
    distribution: "416, as text, with the length of the blob as that of the text",
    ours: "416 RANGE_INVALID, as JSON",
    reason: "the connection stays usable",
  },
  {
    id: "if-match",
    request: "GET of a blob with an `If-Match` that does not match",
    distribution: "412, with the length of the blob and no body",
    ours: "412, with a length of 0",
    reason: "the connection stays usable",
  },
  {
    id: "upper-case-name",
    request: "POST to begin an upload in a repository with upper case in the first part of its name, or with a name of 255 characters",
    distribution: "500",
    ours: "202",
    reason: "as distribution 3",
  },
] as const satisfies readonly Difference[];

/** Differences in who is let in; every one of them is seen by a test. */
export const LOGIN_DIFFERENCES = [
  {
    id: "throttled",
    request: "a login from an address that many others failed from just before",
    distribution: "401 UNAUTHORIZED, or whatever else it would be",
    ours: "429, with `Retry-After`; `auth.htpasswd.throttle` changes it",
    reason: "passwords are not to be guessed",
  },
  {
    id: "login-blanks",
    request: "a login with several blanks after `Basic`",
    distribution: "401 UNAUTHORIZED",
    ours: "200, when it is right",
    reason: "RFC 9110 allows them",
  },
  {
    id: "token-blanks",
    request: "a token with several blanks after `Bearer`",
    distribution: "401 UNAUTHORIZED",
    ours: "401 UNAUTHORIZED, with `invalid_token` in the challenge",
    reason: "as distribution 3",
  },
  {
    id: "token-audiences",
    request: "a token with a list of audiences that has ours",
    distribution: "401 UNAUTHORIZED",
    ours: "200",
    reason: "as distribution 3",
  },
] as const satisfies readonly Difference[];

/** The id of a difference. */
export type DifferenceId = (typeof DIFFERENCES | typeof LOGIN_DIFFERENCES)[number]["id"];

/** Differences that show in many answers, and are therefore taken out before the answers are compared. */
export const EVERYWHERE = [
  {
    id: "json-type",
    request: "any JSON answer",
    distribution: "`application/json; charset=utf-8`",
    ours: "`application/json`",
    reason: "as distribution 3",
  },
  {
    id: "error-detail",
    request: "any error",
    distribution: "`detail` is a dump of an internal structure, often `{}`",
    ours: "`detail` is a text or an object that says what is wrong",
    reason: "as distribution 3; clients print it",
  },
  {
    id: "nosniff",
    request: "anything",
    distribution: "no `X-Content-Type-Options` but on text errors",
    ours: "`X-Content-Type-Options: nosniff`",
    reason: "the images of distribution 3 are configured so",
  },
  {
    id: "upload-ids",
    request: "upload ids",
    distribution: "UUID version 4",
    ours: "UUID version 7",
    reason: "as distribution 3.1; opaque to clients",
  },
] as const satisfies readonly Difference[];
