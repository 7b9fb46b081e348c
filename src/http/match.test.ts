import { describe, expect, test } from "bun:test";
import { matchPath } from "./match.ts";

describe("matchPath", () => {
  const found: [string, string, string, string][] = [
    ["/v2/", "base", "", ""],
    ["/v2/_catalog", "catalog", "", ""],
    ["/v2/_oci/ext/discover", "extensions", "", ""],
    ["/v2/foo/tags/list", "tags", "foo", ""],
    ["/v2/foo/bar/manifests/tag", "manifest", "foo/bar", "tag"],
    ["/v2/foo/bar/manifests/sha256:abcdef01234567890", "manifest", "foo/bar", "sha256:abcdef01234567890"],
    ["/v2/foo/bar/manifests/tags/list", "tags", "foo/bar/manifests", ""],
    ["/v2/foo/bar/manifests/manifests/tags", "manifest", "foo/bar/manifests", "tags"],
    ["/v2/docker.com/foo/tags/list", "tags", "docker.com/foo", ""],
    ["/v2/foo/blobs/sha256:00", "blob", "foo", "sha256:00"],
    ["/v2/foo/bar/blobs/uploads/", "blob_upload", "foo/bar", ""],
    ["/v2/foo/bar/blobs/uploads/uuid", "blob_upload_chunk", "foo/bar", "uuid"],
    ["/v2/foo/blobs/uploads/D95306FA-FAD3-4E36-8D41-CF1C93EF8286", "blob_upload_chunk", "foo", "D95306FA-FAD3-4E36-8D41-CF1C93EF8286"],
    ["/v2/foo/blobs/uploads/RDk1MzA2RkEtRkFEMy00RTM2LThENDEtQ0YxQzkzRUY4Mjg2IA==", "blob_upload_chunk", "foo", "RDk1MzA2RkEtRkFEMy00RTM2LThENDEtQ0YxQzkzRUY4Mjg2IA=="],
    ["/v2/a/referrers/sha256:00", "referrers", "a", "sha256:00"],
  ];
  for (const [path, resource, name, argument] of found) {
    test(path, () => expect(matchPath(path)).toEqual({ resource: resource as "base", name, argument }));
  }

  const redirected: [string, string][] = [
    ["/v2", "/v2/"],
    ["/v2/_catalog/", "/v2/_catalog"],
    ["/v2/foo/tags/list/", "/v2/foo/tags/list"],
    ["/v2/foo/blobs/uploads", "/v2/foo/blobs/uploads/"],
  ];
  for (const [path, target] of redirected) {
    test(`${path} leads to ${target}`, () => expect(matchPath(path)).toEqual({ redirectTo: target }));
  }

  const unknown = ["/", "/v1/", "/v2/foo", "/v2/foo/", "/v2/foo/bar", "/v2//tags/list", "/v2/foo/blobs/uploads/totalandcompletejunk++$$-==", "/v2/foo/tags/other", "/v2/foo/manifests/", "/v2/manifests/x", "/v2/foo/blobs/nodigest", "/v2/foo/blobs/uploads/..", "/v2/constructor", "/v2/toString", "/v2/__proto__", "/v2/constructor/"];
  for (const path of unknown) test(`${path} names nothing`, () => expect(matchPath(path)).toBeUndefined());
});
