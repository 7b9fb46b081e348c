import { describe, expect, test } from "bun:test";
import { type Digest, digestOf } from "../oci/digest.ts";
import { parseName, parseTag } from "../oci/name.ts";
import { blobData, blobFolder, digestFromPath, layerLink, referrerLink, referrersIndexed, revisionLink, tagCurrentLink, tagIndexLink, uploadData, uploadStartedAt } from "./layout.ts";

const NAME = parseName("team/app");
const TAG = parseTag("v1.0");
const HEX = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const SHA256 = digestOf("hello");
const SHA512 = digestOf("hello", "sha512");

describe("layout", () => {
  test("is that of distribution", () => {
    const repository = "/docker/registry/v2/repositories/team/app";
    expect([blobData(SHA256), layerLink(NAME, SHA256), revisionLink(NAME, SHA256), tagCurrentLink(NAME, TAG), tagIndexLink(NAME, TAG, SHA256), uploadData(NAME, "id"), uploadStartedAt(NAME, "id")]).toEqual([
      `/docker/registry/v2/blobs/sha256/2c/${HEX}/data`,
      `${repository}/_layers/sha256/${HEX}/link`,
      `${repository}/_manifests/revisions/sha256/${HEX}/link`,
      `${repository}/_manifests/tags/v1.0/current/link`,
      `${repository}/_manifests/tags/v1.0/index/sha256/${HEX}/link`,
      `${repository}/_uploads/id/data`,
      `${repository}/_uploads/id/startedat`,
    ]);
    expect([referrerLink(NAME, SHA256, SHA256), referrersIndexed(NAME)]).toEqual([`${repository}/_referrers/sha256/${HEX}/sha256/${HEX}/link`, `${repository}/_referrers/indexed`]);
  });

  test.each([SHA256, SHA512, digestOf("hello", "sha384")])("is read back: %s", (digest: Digest) => {
    for (const path of [blobData(digest), blobFolder(digest), layerLink(NAME, digest), revisionLink(NAME, digest), tagIndexLink(NAME, TAG, digest)]) {
      expect(digestFromPath(path)).toBe(digest);
    }
  });

  test.each(["", "/", "/a/b/link", `/blobs/sha256/2c/${HEX.slice(1)}/data`, `/blobs/md5/2c/${HEX}/data`, `/_layers/sha256/${HEX.toUpperCase()}/link`])("of %p stands for no digest", (path) => {
    expect(digestFromPath(path)).toBeUndefined();
  });
});
