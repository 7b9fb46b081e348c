import { readFileSync, readlinkSync, statfsSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { isErrno } from "./errno.ts";

/** By their magic numbers, from `statfs`. */
const XFS = 0x58465342;
/** Also that of ext2, and of ext4 made without a journal, as on the disks of some virtual machines. */
const EXT4 = 0xef53;

/** NFS, SMB of three generations, FUSE, 9P, AFS, Ceph, Lustre, GPFS. */
const NETWORK: ReadonlySet<number> = new Set([0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0x65735546, 0x01021997, 0x5346414f, 0x00c36400, 0x0bd00bd0, 0x47504653]);

/**
 * Whether a folder is on a file system whose changes of names go through one journal in their order (ext4, XFS): a folder that is synced
 * then takes with it every folder that was made before. Elsewhere (Btrfs, ZFS, network file systems) each is synced by itself.
 */
export function isJournalOrdered(folder: string): boolean {
  if (process.platform !== "linux") return false;
  const found = existing(folder);
  return found !== undefined && (found.type === XFS || (found.type === EXT4 && hasJournal(statSync(found.folder).dev)));
}

/**
 * Whether `stat` tells at once what anybody has changed. Network file systems answer from what they remember for up to a minute, and
 * look anew only when a file is opened.
 */
export function isStatCurrent(folder: string): boolean {
  if (process.platform !== "linux") return true;
  const found = existing(folder);
  return found !== undefined && !NETWORK.has(found.type);
}

/** The folder itself, or where it will be: the root is made by the first write. Undefined when nothing can be found out. */
function existing(folder: string): { readonly folder: string; readonly type: number } | undefined {
  for (let nearest = folder; ; nearest = dirname(nearest)) {
    try {
      return { folder: nearest, type: statfsSync(nearest).type };
    } catch (error) {
      if (!isErrno(error, "ENOENT") || nearest === dirname(nearest)) return undefined;
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
