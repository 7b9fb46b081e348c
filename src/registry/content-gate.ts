import type { Digest } from "../oci/digest.ts";

/** What stands between a registry and a collector that works on the same store: asked before building on what is stored already. */
export interface ContentGate {
  /** Whether nobody collects: nothing needs to be asked, and nothing can go away. */
  readonly isIdle: boolean;

  /**
   * Protects a blob's bytes, or a manifest's place in repositories.
   * @returns False when it is too late: treat it as not there. True says nothing about whether it exists: look after asking.
   */
  keep(kind: "blob" | "revision", digest: Digest): Promise<boolean>;

  /** Protects a blob (or a manifest's place) that is about to be stored, waiting for a deletion under way to end. @throws RegistryError UNAVAILABLE */
  keepOrWait(digest: Digest, kind?: "blob" | "revision"): Promise<void>;
}

/** Where nothing is ever collected beside the registry. */
export const OPEN_GATE: ContentGate = {
  isIdle: true,
  keep: async () => true,
  keepOrWait: async () => undefined,
};
