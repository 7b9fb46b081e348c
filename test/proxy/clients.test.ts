import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { type ContainersTools, containersTools } from "../clients/containers-tools.ts";
import { startChild } from "../support/child.ts";
import { runCommand } from "../support/command.ts";
import { startDockerd } from "../support/dockerd.ts";
import { type OciLayout, writeOciLayout } from "../support/images.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { tempFolder } from "../support/temp-folder.ts";

describeWith(["docker", "skopeo", "podman", "containerd"], "through a mirror", () => {
  let upstream: RegistryProcess;
  let mirror: RegistryProcess;
  let tools: ContainersTools;
  let layout: OciLayout;
  beforeAll(async () => {
    upstream = await startRegistry({ implementation: "distribution" });
    tools = await containersTools();
    layout = await writeOciLayout(join(tools.folder, "image"), { layers: 3, layerBytes: 300_000, architectures: ["amd64", "arm64"] });
    for (const name of ["library/app", "org/app"]) {
      await tools.skopeo("copy", "--all", "--preserve-digests", "--dest-tls-verify=false", `oci:${layout.folder}:${layout.tag}`, `docker://${upstream.host}/${name}:1`);
    }
    mirror = await startRegistry({
      config: { proxy: { remotes: [{ prefix: "docker.io", remoteurl: upstream.url }, { prefix: "quay.test", remoteurl: upstream.url }] } },
    });
  });
  afterAll(async () => {
    for (const each of [mirror, tools, upstream]) await each[Symbol.asyncDispose]();
  });

  test("skopeo copies an image of many platforms, byte for byte", async () => {
    const out = join(tools.folder, "out");
    await tools.skopeo("copy", "--all", "--preserve-digests", "--src-tls-verify=false", `docker://${mirror.host}/quay.test/org/app:1`, `oci:${out}:latest`);
    const index = (await Bun.file(join(out, "index.json")).json()) as { manifests: { digest: string }[] };
    expect(index.manifests[0]?.digest).toBe(layout.digest);
  });

  test("podman pulls by way of registries.conf", async () => {
    const config = join(tools.folder, "registries.conf");
    await Bun.write(config, `[[registry]]\nlocation = "quay.test"\n[[registry.mirror]]\nlocation = "${mirror.host}/quay.test"\ninsecure = true\n`);
    await tools.podman("--registries-conf", config, "pull", "--quiet", "quay.test/org/app:1");
    expect(await tools.podman("images", "--format", "{{.Repository}}:{{.Tag}}")).toContain("quay.test/org/app:1");
  });

  test("docker pulls by way of registry-mirrors, in the name space of Docker Hub", async () => {
    await using single = await startRegistry({ config: { proxy: { remoteurl: upstream.url } } });
    await using daemon = await startDockerd({ args: ["--registry-mirror", single.url] });
    await daemon.docker("pull", "--quiet", "app:1");
    await daemon.docker("pull", "--quiet", "org/app:1");
    expect(single.child.output()).toContain("/v2/library/app/manifests/1");
  });

  test("containerd pulls by way of hosts.toml, which names the upstream with ?ns=", async () => {
    await using folder = await tempFolder();
    const inFolder = (name: string): string => join(folder.path, name);
    for (const namespace of ["quay.test", "docker.io"]) {
      await Bun.write(join(folder.path, "certs.d", namespace, "hosts.toml"), `server = "http://127.0.0.1:1"\n[host."${mirror.url}"]\n  capabilities = ["pull", "resolve"]\n`);
    }
    const disabled = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"].map((plugin) => `"${plugin}"`).join(", ");
    await Bun.write(inFolder("config.toml"), `version = 2\nroot = "${inFolder("root")}"\nstate = "${inFolder("state")}"\ndisabled_plugins = [${disabled}]\n[grpc]\n  address = "${inFolder("sock")}"\n[ttrpc]\n  address = "${inFolder("ttrpc")}"\n`);
    await using daemon = startChild(["containerd", "--config", inFolder("config.toml")]);
    await daemon.waitForOutput(/containerd successfully booted/);
    for (const image of ["quay.test/org/app:1", "docker.io/library/app:1"]) {
      await runCommand(["ctr", "--address", inFolder("sock"), "images", "pull", "--all-platforms", "--snapshotter", "native", "--hosts-dir", inFolder("certs.d"), image]);
    }
    expect(mirror.child.output()).toContain("ns=quay.test");
    expect(mirror.child.output()).toContain("ns=docker.io");
  });
});
