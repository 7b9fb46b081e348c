import type { BlobShard, RepositoryFolder } from "../registry/gc/inventory.ts";
import type { RepositoryMarks, RepositoryTask, StoredBlob } from "../registry/gc/walker.ts";
import type { Digest } from "../oci/digest.ts";

/** What threads look over, and how. */
export interface MarkSettings {
  readonly rootdirectory: string;
  /** Whether they give way to everything else on the machine. */
  readonly inBackground: boolean;
}

/** What a thread is asked: a call of `StoreWalker` on some store. */
export type MarkJob = { readonly settings: MarkSettings } & (
  | { readonly call: "folders" }
  | { readonly call: "walk"; readonly tasks: readonly RepositoryTask[] }
  | { readonly call: "shards" }
  | { readonly call: "blobsIn"; readonly shards: readonly BlobShard[] }
  | { readonly call: "look"; readonly digests: string }
);

/** What it found, as the call asks for; or that the store could not be read. */
export type MarkAnswer =
  | { readonly folders: readonly RepositoryFolder[] }
  | { readonly marks: readonly (PackedMarks | undefined)[] }
  | { readonly shards: readonly BlobShard[] }
  | { readonly digests: string }
  | { readonly blobs: Float64Array }
  | { readonly error: string };

/** Marks with their longest lists as one text each, which costs a message much less. */
export type PackedMarks = Omit<RepositoryMarks, "live" | "strayLayers"> & { readonly live: string; readonly strayLayers: string };

/** Makes one text of digests. */
export function packDigests(digests: readonly Digest[]): string {
  return digests.join(" ");
}

/** The digests of such a text. */
export function unpackDigests(text: string): readonly Digest[] {
  return text === "" ? [] : (text.split(" ") as Digest[]);
}

/** Makes two numbers of each blob's data: how many bytes, and when they were changed; neither is a number where there are none. */
export function packBlobs(blobs: readonly StoredBlob[]): Float64Array {
  const numbers = new Float64Array(2 * blobs.length);
  for (const [index, { data }] of blobs.entries()) {
    numbers[2 * index] = data?.sizeBytes ?? Number.NaN;
    numbers[2 * index + 1] = data?.modifiedAtMs ?? Number.NaN;
  }
  return numbers;
}

/** The blobs of such numbers, and of the digests that were asked for. */
export function unpackBlobs(digests: readonly Digest[], numbers: Float64Array): readonly StoredBlob[] {
  return digests.map((digest, index) => {
    const [sizeBytes, modifiedAtMs] = [numbers[2 * index], numbers[2 * index + 1]];
    if (sizeBytes === undefined || modifiedAtMs === undefined) throw new Error("a thread of the collector gave too few answers");
    return { digest, data: Number.isNaN(sizeBytes) ? undefined : { sizeBytes, modifiedAtMs } };
  });
}
