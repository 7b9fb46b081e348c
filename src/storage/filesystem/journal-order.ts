import { readFileSync, readlinkSync, statfsSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { isErrno } from "./errno.ts";

/** By their magic numbers, from `statfs`. */
const XFS = 0x58465342;
/** Also that of ext2, and of ext4 made without a journal, as on the disks of some virtual machines. */
const EXT4 = 0xef53;

/**
 * Whether a folder is on a file system whose changes of names go through one journal in their order (ext4, XFS): a folder that is synced
 * then takes with it every folder that was made before. Elsewhere (Btrfs, ZFS, network file systems) each is synced by itself.
 */
export function isJournalOrdered(folder: string): boolean {
  if (process.platform !== "linux") return false;
  for (let existing = folder; ; existing = dirname(existing)) {
    try {
      const { type } = statfsSync(existing);
      return type === XFS || (type === EXT4 && hasJournal(statSync(existing).dev));
    } catch (error) {
      // The root is made by the first write; it will be where its parent is.
      if (!isErrno(error, "ENOENT") || existing === dirname(existing)) return false;
    }
  }
}

/**
 * Whether an ext4 file system has a journal; false also when the system does not tell.
 * @param dev The number of its device, as `stat` gives it.
 * @param sys Where the kernel shows what it knows.
 */
export function hasJournal(dev: number, sys = "/sys"): boolean {
  try {
    const device = basename(readlinkSync(join(sys, "dev/block", deviceNumber(dev))));
    // The journal's thread: a number, or 0 where it belongs to a host that cannot be seen from here; `<none>` without a journal.
    return /^\d+\s*$/.test(readFileSync(join(sys, "fs/ext4", device, "journal_task"), "latin1"));
  } catch {
    // Older kernels do not show it, nor do sandboxes: to sync every folder is right anywhere.
    return false;
  }
}

/** `8:1`: major and minor number, which lie in pieces in a number of up to 64 bits. */
function deviceNumber(dev: number): string {
  const bits = BigInt(dev);
  const major = ((bits >> 8n) & 0xfffn) | ((bits >> 32n) & 0xfffff000n);
  const minor = (bits & 0xffn) | ((bits >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}
