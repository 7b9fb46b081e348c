import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { digestOf, TYPES } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { blobPath, type DiskImage, DiskStore, hexPath, layerPath, revisionPath, tagPath } from "./disk-store.ts";

/*
 * What years of other registries, power losses and people leave in a store: what a client is told of it, and what a collection makes
 * of it. The table of decisions is src/registry/gc/debris.md; each of its rows has its test here.
 */

const UPLOAD = "0d1e2f3a-0000-4000-8000-000000000001";
const LEFTOVER = "0d1e2f3a-0000-4000-8000-00000000000a.tmp";

interface Furnished {
  readonly store: DiskStore;
  readonly registry: RegistryProcess;
}

/** One oddity in a store that is otherwise fine. */
interface Oddity {
  readonly what: string;
  /** Makes it. What it gives is handed to the checks. */
  readonly make: (store: DiskStore) => Made;
  /** URL below `/v2/` and the answer's status and error code. */
  readonly served: (made: Made) => readonly (readonly [string, number, string?])[];
  /** Paths that a collection deletes and keeps. */
  readonly gone?: (made: Made) => readonly string[];
  readonly kept?: (made: Made) => readonly string[];
}

interface Made {
  /** The repository: one for each oddity. */
  readonly name: string;
  readonly image: DiskImage;
  readonly digest: string;
}

function oddity(name: string, make: (store: DiskStore, image: DiskImage) => string): (store: DiskStore) => Made {
  return (store) => {
    const image = store.image(name, name, { tag: "fine" });
    return { name, image, digest: make(store, image) };
  };
}

const manifestUrl = (made: Made, reference: string): string => `${made.name}/manifests/${reference}`;
const blobUrl = (made: Made, digest: string): string => `${made.name}/blobs/${digest}`;
const fine = (made: Made): readonly [string, number] => [manifestUrl(made, "fine"), 200];

const ODDITIES: readonly Oddity[] = [
  {
    what: "a schema 1 manifest with its layer",
    make: oddity("schema1", (store) => {
      const layer = store.blob("schema1", "old layer");
      return store.manifest("schema1", { schemaVersion: 1, name: "schema1", tag: "old", fsLayers: [{ blobSum: layer }], history: [], signatures: [] }, "old").digest;
    }),
    served: (made) => [[manifestUrl(made, "old"), 500, "UNKNOWN"], [blobUrl(made, digestOf("old layer")), 200], fine(made)],
    kept: ({ digest }) => [blobPath(digest), blobPath(digestOf("old layer")), layerPath("schema1", digestOf("old layer"))],
  },
  {
    what: "the signatures that registries 2.0 to 2.3 kept beside an untagged manifest",
    make: oddity("signatures", (store) => {
      const { digest } = store.image("signatures", "untagged");
      store.age(revisionPath("signatures", digest), 1);
      store.write(revisionPath("signatures", digest).replace(/link$/, `signatures/${hexPath(digestOf("signature"))}/link`), digestOf("signature"));
      return digest;
    }),
    served: (made) => [[manifestUrl(made, made.digest), 200]],
    gone: ({ digest }) => [revisionPath("signatures", digest).replace(/\/link$/, ""), blobPath(digest)],
  },
  {
    what: "a layer link emptied by a power loss, of a layer that is needed",
    make: oddity("emptylayer", (store, image) => written(store, layerPath("emptylayer", image.layer), "", image.layer)),
    served: (made) => [[blobUrl(made, made.digest), 404, "BLOB_UNKNOWN"], fine(made)],
    kept: ({ digest }) => [blobPath(digest), layerPath("emptylayer", digest)],
  },
  {
    what: "an empty link to a blob that nothing needs",
    make: oddity("emptyorphan", (store) => {
      const digest = store.bytes("empty orphan");
      return written(store, layerPath("emptyorphan", digest), "", digest);
    }),
    served: (made) => [[blobUrl(made, made.digest), 404, "BLOB_UNKNOWN"]],
    gone: ({ digest }) => [blobPath(digest), layerPath("emptyorphan", digest).replace(/\/link$/, "")],
  },
  {
    what: "a layer link with a text that is no digest",
    make: oddity("wrongtext", (store, image) => written(store, layerPath("wrongtext", image.config), "sha256:abc", image.config)),
    served: (made) => [[blobUrl(made, made.digest), 404, "BLOB_UNKNOWN"], fine(made)],
    kept: ({ digest }) => [blobPath(digest), layerPath("wrongtext", digest)],
  },
  {
    what: "a link whose blob is missing, and which no manifest needs",
    make: oddity("missing", (store) => written(store, layerPath("missing", digestOf("missing")), digestOf("missing"), digestOf("missing"))),
    served: (made) => [[blobUrl(made, made.digest), 404, "BLOB_UNKNOWN"]],
    gone: ({ digest }) => [layerPath("missing", digest).replace(/\/link$/, "")],
  },
  {
    what: "a manifest whose layer is missing",
    make: oddity("hole", (store, image) => removed(store, blobPath(image.layer), image.layer)),
    served: (made) => [fine(made), [blobUrl(made, made.digest), 404, "BLOB_UNKNOWN"]],
    kept: ({ image, digest }) => [blobPath(image.digest), layerPath("hole", digest)],
  },
  {
    what: "a tag whose manifest lost its link, but not its bytes",
    make: oddity("unlinked", (store) => {
      const { digest } = store.image("unlinked", "unlinked tagged", { tag: "t" });
      return removed(store, revisionPath("unlinked", digest), digest);
    }),
    served: (made) => [[manifestUrl(made, "t"), 404, "MANIFEST_UNKNOWN"]],
    kept: ({ digest }) => [tagPath("unlinked", "t"), blobPath(digest), blobPath(digestOf("layer unlinked tagged"))],
  },
  {
    what: "a tag whose manifest is gone",
    make: oddity("dangling", (store) => {
      store.tag("dangling", "t", digestOf("gone"));
      return digestOf("gone");
    }),
    served: (made) => [[manifestUrl(made, "t"), 404, "MANIFEST_UNKNOWN"]],
    gone: () => ["repositories/dangling/_manifests/tags/t"],
  },
  {
    what: "the link of a manifest whose bytes are gone",
    make: oddity("bytesgone", (store) => written(store, revisionPath("bytesgone", digestOf("gone")), digestOf("gone"), digestOf("gone"))),
    served: (made) => [[manifestUrl(made, made.digest), 404, "MANIFEST_UNKNOWN"]],
    gone: ({ digest }) => [revisionPath("bytesgone", digest).replace(/\/link$/, "")],
  },
  {
    what: "a tag without a history",
    make: oddity("nohistory", (store, image) => removed(store, "repositories/nohistory/_manifests/tags/fine/index", image.digest)),
    served: (made) => [fine(made)],
    kept: ({ image }) => image.all.map(blobPath),
  },
  {
    what: "a tag with a history, but without a current link",
    make: oddity("nocurrent", (store) => {
      const { digest } = store.image("nocurrent", "history", { tag: "t" });
      store.age(revisionPath("nocurrent", digest), 1);
      return removed(store, "repositories/nocurrent/_manifests/tags/t/current", digest);
    }),
    served: (made) => [[manifestUrl(made, "t"), 404, "MANIFEST_UNKNOWN"]],
    // It is untagged; what is left of the tag stays for `verify --repair`.
    gone: ({ digest }) => [blobPath(digest), `repositories/nocurrent/_manifests/tags/t/index/${hexPath(digest)}`],
    kept: () => ["repositories/nocurrent/_manifests/tags/t"],
  },
  {
    what: "stray files and folders everywhere",
    make: oddity("stray", (store, image) => {
      for (const path of STRAY) store.write(path, "stray");
      return image.digest;
    }),
    served: (made) => [fine(made), [`${made.name}/tags/list`, 200]],
    kept: () => STRAY,
  },
  {
    what: "an upload of 2015, and one that lost its beginning as long ago",
    make: oddity("uploads", (store, image) => {
      store.write(`repositories/uploads/_uploads/${UPLOAD}/startedat`, "2015-03-04T05:06:07Z");
      store.write(`repositories/uploads/_uploads/${UPLOAD}/data`, "half");
      const other = "repositories/uploads/_uploads/0d1e2f3a-0000-4000-8000-000000000002";
      store.write(`${other}/hashstates/sha256/0`, "state");
      store.age(other, 30);
      return image.digest;
    }),
    served: (made) => [fine(made)],
    gone: () => [`repositories/uploads/_uploads/${UPLOAD}`, "repositories/uploads/_uploads/0d1e2f3a-0000-4000-8000-000000000002"],
  },
  {
    what: "an upload that was begun today, with and without its beginning",
    make: oddity("young", (store, image) => {
      store.write(`repositories/young/_uploads/${UPLOAD}/startedat`, new Date().toISOString());
      store.write("repositories/young/_uploads/0d1e2f3a-0000-4000-8000-000000000002/data", "half");
      return image.digest;
    }),
    served: (made) => [fine(made)],
    kept: () => [`repositories/young/_uploads/${UPLOAD}/startedat`, "repositories/young/_uploads/0d1e2f3a-0000-4000-8000-000000000002/data"],
  },
  {
    what: "files of interrupted writes where nothing is needed any more, a month old",
    make: oddity("leftovers", (store, image) => {
      for (const path of LEFTOVERS) {
        store.write(path, "half");
        store.age(path, 30);
      }
      return image.digest;
    }),
    served: (made) => [fine(made)],
    gone: () => LEFTOVERS.map((path) => path.slice(0, path.lastIndexOf("/"))),
  },
  {
    what: "a file of a write that may be under way",
    make: oddity("writing", (store) => written(store, `${blobPath(digestOf("writing"))}.${LEFTOVER}`, "half", digestOf("writing"))),
    served: (made) => [fine(made), [blobUrl(made, made.digest), 404, "BLOB_UNKNOWN"]],
    kept: ({ digest }) => [`${blobPath(digest)}.${LEFTOVER}`],
  },
  {
    what: "empty folders of deleted blobs and manifests",
    make: oddity("hollow", (store) => {
      const digest = digestOf("hollow");
      for (const folder of [blobPath(digest).replace(/\/data$/, ""), layerPath("hollow", digest).replace(/\/link$/, ""), revisionPath("hollow", digest).replace(/\/link$/, "")]) store.makeFolder(folder);
      return digest;
    }),
    served: (made) => [[manifestUrl(made, made.digest), 404, "MANIFEST_UNKNOWN"], [blobUrl(made, made.digest), 404, "BLOB_UNKNOWN"]],
    gone: ({ digest }) => [blobPath(digest), layerPath("hollow", digest), revisionPath("hollow", digest)].map((path) => path.slice(0, path.lastIndexOf("/"))),
  },
  {
    what: "a repository of which only folders and notes are left, with another one below it",
    make: (store) => {
      for (const folder of ["_layers/sha256", "_manifests/revisions/sha256", "_manifests/tags", "_uploads"]) store.makeFolder(`repositories/orphan/${folder}`);
      store.write("repositories/orphan/_pulls/instance", "{}");
      store.write("repositories/orphan/_referrers/indexed", "");
      store.makeFolder("repositories/unused/deep/_layers");
      const image = store.image("orphan/below", "below", { tag: "fine" });
      return { name: "orphan/below", image, digest: image.digest };
    },
    served: (made) => [fine(made), ["orphan/manifests/t", 404, "MANIFEST_UNKNOWN"]],
    gone: () => ["_layers", "_manifests", "_uploads", "_pulls", "_referrers"].map((part) => `repositories/orphan/${part}`).concat("repositories/unused"),
    kept: ({ image }) => [tagPath("orphan/below", "fine"), ...image.all.map(blobPath)],
  },
  {
    what: "an index of plain blobs, and one that lacks a child",
    make: oddity("cache", (store) => {
      const layer = store.blob("cache", "cached");
      store.index("cache", [{ mediaType: TYPES.dockerLayer, digest: layer, size: 6 }], "buildcache");
      store.index("cache", [{ mediaType: TYPES.ociManifest, digest: digestOf("no child"), size: 6 }], "sparse");
      return layer;
    }),
    served: (made) => [[manifestUrl(made, "buildcache"), 200], [manifestUrl(made, "sparse"), 200], [blobUrl(made, made.digest), 200]],
    kept: ({ digest }) => [blobPath(digest), tagPath("cache", "sparse")],
  },
  {
    what: "a blob pushed under sha512, as distribution stores it",
    make: oddity("alias", (store) => {
      const stored = store.blob("alias", "aliased");
      const alias = digestOf("aliased", "sha512");
      store.write(layerPath("alias", alias), stored);
      store.manifest("alias", { mediaType: TYPES.ociManifest, config: { mediaType: TYPES.ociConfig, digest: alias, size: 7 }, layers: [] }, "t");
      return stored;
    }),
    served: (made) => [[blobUrl(made, digestOf("aliased", "sha512")), 200], [manifestUrl(made, "t"), 200]],
    kept: ({ digest }) => [blobPath(digest), layerPath("alias", digestOf("aliased", "sha512"))],
  },
];

const STRAY = [
  "stray.txt",
  "blobs/lost",
  "blobs/sha256/README",
  "blobs/sha256/ab/stray/data",
  "blobs/md5/00/00/data",
  "repositories/.DS_Store",
  "repositories/stray/notes.txt",
  "repositories/stray/_manifests/tags/README",
  "repositories/stray/_manifests/revisions/sha256/latest/link",
  "repositories/stray/_layers/sha256/short/link",
  "repositories/stray/_uploads/README",
];

const LEFTOVERS = [
  `${blobPath(digestOf("leftover"))}.${LEFTOVER}`,
  `${layerPath("leftovers", digestOf("leftover layer"))}.${LEFTOVER}`,
  `${revisionPath("leftovers", digestOf("leftover manifest"))}.${LEFTOVER}`,
];

function written(store: DiskStore, path: string, content: string, digest: string): string {
  store.write(path, content);
  return digest;
}

function removed(store: DiskStore, path: string, digest: string): string {
  store.remove(path);
  return digest;
}

async function makeAll(): Promise<Furnished & { readonly made: ReadonlyMap<Oddity, Made> } & AsyncDisposable> {
  const store = await DiskStore.make();
  const made = new Map(ODDITIES.map((each) => [each, each.make(store)]));
  const registry = await startRegistry({ storageFolder: store.folder });
  const dispose = async (): Promise<void> => {
    await registry[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
  };
  return { store, registry, made, [Symbol.asyncDispose]: dispose };
}

describe("debris", () => {
  let all: Awaited<ReturnType<typeof makeAll>>;
  let collected: { readonly exitCode: number; readonly stderr: string };
  const before = new Map<string, readonly string[]>();

  async function answers(each: Oddity): Promise<string[]> {
    const made = all.made.get(each);
    if (made === undefined) return [];
    const lines: string[] = [];
    for (const [path] of each.served(made)) {
      const response = await fetch(`${all.registry.url}/v2/${path}`, { headers: { accept: Object.values(TYPES).join(", ") } });
      const body = await response.text();
      lines.push([path, response.status, ...(response.status < 400 ? [] : [/"code":"(\w+)"/.exec(body)?.[1]])].join(" "));
    }
    return lines;
  }

  beforeAll(async () => {
    all = await makeAll();
    for (const each of ODDITIES) before.set(each.what, await answers(each));
    collected = await all.store.run(["garbage-collect", "--delete-untagged", "--grace", "0s"]);
  }, 60_000);
  afterAll(async () => await all[Symbol.asyncDispose]());

  test("is no reason to stop a collection", () => expect(collected).toMatchObject({ exitCode: 0 }));

  for (const each of ODDITIES) {
    test(`${each.what}: is served`, () => {
      const made = all.made.get(each);
      expect(before.get(each.what)).toEqual(made === undefined ? [] : each.served(made).map((line) => line.join(" ")));
    });

    test(`${each.what}: is collected or kept`, () => {
      const made = all.made.get(each);
      if (made === undefined) throw new Error("it was not made");
      const is = (paths: readonly string[]): string[] => paths.map((path) => `${path}: ${all.store.has(path) ? "kept" : "gone"}`);
      const [gone, kept] = [each.gone?.(made) ?? [], each.kept?.(made) ?? []];
      expect(is(gone)).toEqual(gone.map((path) => `${path}: gone`));
      expect(is(kept)).toEqual(kept.map((path) => `${path}: kept`));
      for (const digest of made.image.all) if (each.what !== "a manifest whose layer is missing") expect(all.store.hasBytes(digest)).toBe(true);
    });
  }

  test("whole images are pulled afterwards as before", async () => {
    for (const [, { name, image }] of all.made) {
      const response = await fetch(`${all.registry.url}/v2/${name}/manifests/fine`, { headers: { accept: TYPES.ociManifest } });
      expect(digestOf(await response.bytes())).toBe(image.digest);
    }
  });
});

// Each of these is a doubt, see command.test.ts; here, what clients are told of it.
describe("what stops a collection is served as far as it can be", () => {
  const cases: readonly [string, (store: DiskStore, image: DiskImage) => void, readonly [string, number][]][] = [
    ["an empty manifest link", (store, image) => store.write(revisionPath("a", image.digest), ""), [["manifests/t", 404]]],
    ["an empty tag link", (store) => store.write(tagPath("a", "t"), ""), [["manifests/t", 404], ["tags/list", 200]]],
    ["a manifest emptied by a power loss", (store, image) => store.write(blobPath(image.digest), ""), [["manifests/t", 500]]],
  ];
  for (const [what, damage, served] of cases) {
    test(`${what}; a new push mends it`, async () => {
      await using store = await DiskStore.make();
      const image = store.image("a", "1", { tag: "t" });
      const bytes = await Bun.file(store.path(blobPath(image.digest))).bytes();
      damage(store, image);
      await using registry = await startRegistry({ storageFolder: store.folder });
      for (const [path, status] of served) expect([path, (await fetch(`${registry.url}/v2/a/${path}`)).status]).toEqual([path, status]);
      expect((await store.run(["garbage-collect"])).exitCode).toBe(1);
      const put = await fetch(`${registry.url}/v2/a/manifests/t`, { method: "PUT", body: bytes, headers: { "content-type": TYPES.ociManifest } });
      expect(put.status).toBe(201);
      expect((await fetch(`${registry.url}/v2/a/manifests/t`, { headers: { accept: TYPES.ociManifest } })).status).toBe(200);
      expect((await store.run(["garbage-collect", "--grace", "0s"])).exitCode).toBe(0);
      for (const digest of image.all) expect(store.hasBytes(digest)).toBe(true);
    }, 60_000);
  }
});
