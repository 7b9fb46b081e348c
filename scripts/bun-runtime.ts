import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import lock from "../package-lock.json";

const ROOT = join(import.meta.dir, "..");
const CACHE = join(ROOT, "dist", ".runtimes");

/**
 * Fetches the Bun runtime of another platform from the npm registry, where every platform's is a package beside the one that
 * `npm ci` installed. Bun could fetch it itself, but then nothing would compare it with a known hash.
 * @param packageName For instance `@oven/bun-linux-aarch64`; it must be named in `package-lock.json`.
 * @returns Path of the runtime's executable, kept under `dist/.runtimes` for the next build.
 * @throws Error when it cannot be fetched or is not what the lock file says.
 */
export async function fetchBunRuntime(packageName: string): Promise<string> {
  const { version, integrity } = lockedPackage(packageName);
  const folder = join(CACHE, `${packageName.replace("@oven/", "")}-${version}`);
  const executable = join(folder, "bin", packageName.includes("windows") ? "bun.exe" : "bun");
  if (await Bun.file(executable).exists()) return executable;

  const incoming = `${folder}.incoming`;
  await rm(incoming, { recursive: true, force: true });
  await mkdir(incoming, { recursive: true });
  const packed = await Bun.$`npm pack --silent --pack-destination ${incoming} ${packageName}@${version}`.cwd(ROOT).quiet().nothrow();
  if (packed.exitCode !== 0) throw new Error(`npm pack ${packageName}@${version}: ${packed.stderr.toString().trim()}`);
  const archive = join(incoming, packed.stdout.toString().trim());
  await checkIntegrity(archive, integrity);
  await Bun.$`tar -xzf ${archive} --strip-components=1 -C ${incoming}`.quiet();
  await rm(archive);
  await rm(folder, { recursive: true, force: true });
  await rename(incoming, folder);
  return executable;
}

function lockedPackage(packageName: string): { version: string; integrity: string } {
  const packages: Readonly<Record<string, { version?: string; integrity?: string }>> = lock.packages;
  const entry = packages[`node_modules/${packageName}`];
  if (entry?.version === undefined || entry.integrity === undefined) {
    throw new Error(`package-lock.json: no version and integrity for ${packageName}`);
  }
  return { version: entry.version, integrity: entry.integrity };
}

async function checkIntegrity(file: string, integrity: string): Promise<void> {
  const hasher = new Bun.CryptoHasher("sha512");
  for await (const chunk of Bun.file(file).stream()) hasher.update(chunk);
  const found = `sha512-${hasher.digest("base64")}`;
  if (found !== integrity) throw new Error(`${file}: integrity is ${found}, package-lock.json expects ${integrity}`);
}
