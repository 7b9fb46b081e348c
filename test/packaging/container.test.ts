import { afterAll, beforeAll, expect, test } from "bun:test";
import { cp, mkdir, readlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parse } from "yaml";
import { startChild } from "../support/child.ts";
import { runCommand } from "../support/command.ts";
import { registryCommand } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

const ROOT = join(import.meta.dir, "../..");

/** The image is built on nothing here, and the few files of glibc that its base brings are copied from this machine. */
describeWith(["buildah"], "the container image", () => {
  let folder: TempFolder;
  let mounted: string;
  let config: { Entrypoint: string[]; Cmd: string[]; ExposedPorts: object; Volumes: object };

  beforeAll(async () => {
    folder = await tempFolder();
    const context = join(folder.path, "context");
    const [binary = ""] = registryCommand("binary");
    await cp(binary, join(context, "dist/registry"));
    await cp(join(ROOT, "packaging"), join(context, "packaging"), { recursive: true, verbatimSymlinks: true });
    await buildah("build", "--quiet", "--isolation", "chroot", "--build-arg", "BASE=scratch", "--file", join(context, "packaging/Containerfile"), "--tag", "test", context);
    const container = (await buildah("from", "--pull-never", "test")).trim();
    mounted = (await buildah("mount", container)).trim();
    config = (JSON.parse(await buildah("inspect", "--type", "image", "test")) as { OCIv1: { config: typeof config } }).OCIv1.config;
    const libraries = (await runCommand(["ldd", binary])).match(/\/lib\S+/g) ?? [];
    for (const library of libraries) {
      await mkdir(join(mounted, dirname(library)), { recursive: true });
      await cp(library, join(mounted, library), { dereference: true });
    }
  });
  afterAll(() => folder[Symbol.asyncDispose]());

  const buildah = (...args: string[]): Promise<string> =>
    runCommand(["buildah", "--root", join(folder.path, "root"), "--runroot", join(folder.path, "run"), "--storage-driver", "vfs", ...args], { env: { HOME: folder.path } });

  test("has the entry point, port and volume of distribution's", () => {
    expect(config.Entrypoint).toEqual(["registry"]);
    expect(config.Cmd).toEqual(["serve", "/etc/distribution/config.yml"]);
    expect(Object.keys(config.ExposedPorts)).toEqual(["5000/tcp", "5000"].filter((port) => port in config.ExposedPorts));
    expect(Object.keys(config.Volumes)).toEqual(["/var/lib/registry"]);
  });

  test("finds its configuration under both of distribution's paths", async () => {
    expect(await readlink(join(mounted, "etc/distribution/config.yml"))).toBe("../docker/registry/config.yml");
    const text = await Bun.file(join(mounted, "etc/docker/registry/config.yml")).text();
    expect(parse(text)).toMatchObject({ storage: { filesystem: { rootdirectory: "/var/lib/registry" } }, http: { addr: ":5000" } });
  });

  test("runs with nothing but glibc around it, and serves what a user mounts over the old path", async () => {
    // A container has /proc, from which the executable reads itself.
    const inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGTERM", `--root=${mounted}`, "--mount-proc", "/bin/registry"];
    await mkdir(join(mounted, "proc"), { recursive: true });
    expect(await runCommand([...inside, "--version"])).toStartWith("registry ");
    const mine = (await Bun.file(join(mounted, "etc/docker/registry/config.yml")).text()).replace("addr: :5000", "addr: 127.0.0.1:0");
    await Bun.write(join(mounted, "etc/docker/registry/config.yml"), mine);
    await using child = startChild([...inside, ...config.Cmd]);
    const [, address] = await child.waitForOutput(/listening on ([^\s",]+)/);
    const response = await fetch(`http://${address}/v2/`);
    expect([response.status, response.headers.get("x-content-type-options")]).toEqual([200, "nosniff"]);
    // unshare itself takes no SIGTERM; its end is one for the registry.
    await child.stop("SIGKILL");
  });
});
