import { mapConcurrently } from "../../lib/concurrently.ts";
import type { Digest } from "../../oci/digest.ts";
import type { RepositoryName } from "../../oci/name.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import { revisionLink } from "../layout.ts";
import { CollectionDoubtError } from "./doubt.ts";
import type { Marker } from "./mark.ts";
import type { Plan } from "./plan.ts";
import { condemnedKey } from "./state.ts";
import { statOrUndefined } from "./store-reader.ts";

const LOOKS_AT_ONCE = 128;

/** What the store is looked at by. */
export interface NeedSources {
  readonly driver: StorageDriver;
  readonly marker: Pick<Marker, "closure">;
}

/**
 * What must stay of what was condemned, at the moment of the claim: what rescued manifests need and what refers to them, and the same of
 * manifests that came meanwhile and that condemned signatures had waited for.
 * @param revisions All that were condemned: what was deleted and pushed again since is in no later plan.
 * @param rescued Keys, see `condemnedKey`.
 * @throws CollectionDoubtError when something of it cannot be read: it may need more
 */
export async function neededAgain({ driver, marker }: NeedSources, revisions: Plan["revisions"], rescued: ReadonlySet<string>): Promise<ReadonlySet<Digest>> {
  const roots = new Map<RepositoryName, Set<Digest>>();
  const addRoot = (name: RepositoryName, digest: Digest): void => void roots.set(name, (roots.get(name) ?? new Set()).add(digest));
  const subjects: { readonly name: RepositoryName; readonly subject: Digest }[] = [];
  for (const [digest, planned] of revisions) {
    const isRescued = rescued.has(condemnedKey("revision", digest));
    for (const { name, subject } of planned) {
      if (isRescued) addRoot(name, digest);
      else if (subject !== undefined && !isPlanned(revisions, name, subject)) subjects.push({ name, subject });
    }
  }
  await mapConcurrently(subjects, LOOKS_AT_ONCE, async ({ name, subject }) => {
    if ((await statOrUndefined(driver, revisionLink(name, subject))) !== undefined) addRoot(name, subject);
  });
  const needed = new Set<Digest>();
  for (const [name, digests] of roots) {
    const { reached, doubts } = await marker.closure(name, digests);
    if (doubts.length > 0) throw new CollectionDoubtError(doubts);
    for (const digest of reached) needed.add(digest);
  }
  return needed;
}

function isPlanned(revisions: Plan["revisions"], name: RepositoryName, digest: Digest): boolean {
  return revisions.get(digest)?.some((revision) => revision.name === name) === true;
}
