import { join } from "node:path";
import { runCommand } from "../support/command.ts";
import { tempFolder } from "../support/temp-folder.ts";

/** skopeo, podman and buildah with their state in a folder of their own. */
export interface ContainersTools extends AsyncDisposable {
  readonly folder: string;
  skopeo(...args: readonly string[]): Promise<string>;
  podman(...args: readonly string[]): Promise<string>;
  buildah(...args: readonly string[]): Promise<string>;
  /** Forgets all images, and what the tools remember of where they saw which blob. */
  forget(): Promise<void>;
}

/** Sets the tools up; nothing is shared with the user's own images and credentials. */
export async function containersTools(): Promise<ContainersTools> {
  const folder = await tempFolder();
  await Bun.write(join(folder.path, "auth.json"), "{}");
  let round = 0;
  const state = (name: string): string => join(folder.path, `${name}-${round}`);
  // The blob info cache is kept below the home folder of root or under XDG_DATA_HOME.
  const env = (): Record<string, string> => ({ HOME: state("home"), XDG_DATA_HOME: state("data"), REGISTRY_AUTH_FILE: join(folder.path, "auth.json") });
  const storage = (name: string): string[] => ["--root", state(name), "--runroot", state(`${name}-run`), "--storage-driver", "vfs"];
  return {
    folder: folder.path,
    skopeo: (...args) => runCommand(["skopeo", "--insecure-policy", ...args], { env: env() }),
    podman: (...args) => runCommand(["podman", ...storage("podman"), "--cgroup-manager", "cgroupfs", "--events-backend", "file", ...args], { env: env() }),
    buildah: (...args) => runCommand(["buildah", ...storage("buildah"), ...args], { env: env() }),
    async forget() {
      round++;
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}
