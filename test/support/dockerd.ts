import { rm } from "node:fs/promises";
import { join } from "node:path";
import { startChild } from "./child.ts";
import { runCommand, tryCommand } from "./command.ts";
import { tempFolder } from "./temp-folder.ts";

/** A docker daemon of our own, with its own data and socket. */
export interface Dockerd extends AsyncDisposable {
  /** Runs `docker` with these arguments against it. @returns Standard output. @throws Error with its output when it fails. */
  docker(...args: readonly string[]): Promise<string>;
  /** Builds an image with a layer for each of these files. */
  build(image: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<void>;
}

/**
 * Starts `dockerd` without network or firewall rules, so that it needs no more than root. Loopback registries may use plain HTTP.
 * @throws Error with its output when it does not come up within 20 seconds.
 */
export async function startDockerd(options: { readonly args?: readonly string[]; readonly env?: Readonly<Record<string, string>> } = {}): Promise<Dockerd> {
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await tempFolder());
  const inFolder = (name: string): string => join(folder.path, name);
  const socket = `unix://${inFolder("docker.sock")}`;
  const daemon = cleanup.use(
    startChild(
      [
        "dockerd",
        ...["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"],
        ...["--insecure-registry", "127.0.0.0/8"],
        ...["--data-root", inFolder("data"), "--exec-root", inFolder("exec"), "--pidfile", inFolder("pid")],
        ...["--host", socket],
        ...(options.args ?? []),
      ],
      options.env,
    ),
  );
  const env = { DOCKER_HOST: socket, DOCKER_CONFIG: inFolder("config"), DOCKER_BUILDKIT: "0" };
  await daemon.waitForOutput(/API listen on /);
  const owned = cleanup.move();
  let builds = 0;
  const docker = (...args: readonly string[]): Promise<string> => runCommand(["docker", ...args], { env });
  return {
    docker,
    async build(image, files) {
      const context = inFolder(`build-${builds++}`);
      const lines = ["FROM scratch"];
      for (const [name, content] of Object.entries(files)) {
        await Bun.write(join(context, name), content);
        lines.push(`COPY ${name} /${name}`);
      }
      await Bun.write(join(context, "Dockerfile"), lines.join("\n"));
      await docker("build", "--quiet", "--tag", image, context);
      await rm(context, { recursive: true });
    },
    async [Symbol.asyncDispose]() {
      await tryCommand(["docker", "system", "prune", "--all", "--force"], { env });
      await owned.disposeAsync();
    },
  };
}
