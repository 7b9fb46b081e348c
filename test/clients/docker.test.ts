import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { type Dockerd, startDockerd } from "../support/dockerd.ts";
import { ACCEPT_ALL, digestOf, expectStatus, seededBytes } from "../support/http.ts";
import { type RegistryProcess, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { tempFolder } from "../support/temp-folder.ts";

describeWith(["docker"], "docker", () => {
  let registry: RegistryProcess;
  let dockerd: Dockerd;
  const docker = (...args: string[]): Promise<string> => dockerd.docker(...args);

  beforeAll(async () => {
    registry = await startRegistry();
    dockerd = await startDockerd();
  });
  afterAll(async () => {
    await dockerd[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
  });

  /** What `docker push` says the digest is. */
  async function push(image: string): Promise<string> {
    const output = await docker("push", image);
    return /digest: (sha256:[0-9a-f]{64})/.exec(output)?.[1] ?? "";
  }

  async function imageId(image: string): Promise<string> {
    return (await docker("image", "inspect", "--format", "{{.Id}}", image)).trim();
  }

  async function served(name: string, reference: string): Promise<string> {
    const response = await expectStatus(200, `${registry.url}/v2/${name}/manifests/${reference}`, { headers: { accept: ACCEPT_ALL } });
    expect(digestOf(await response.bytes())).toBe(response.headers.get("docker-content-digest") ?? "");
    return response.headers.get("docker-content-digest") ?? "";
  }

  test("pushes an image of several layers and pulls it by tag and by digest", async () => {
    const image = `${registry.host}/docker/layers:1`;
    await dockerd.build(image, { one: seededBytes(3_000_000, 1), two: "two", three: seededBytes(200_000, 3) });
    const id = await imageId(image);
    const digest = await push(image);
    expect(await served("docker/layers", "1")).toBe(digest);

    await docker("image", "rm", image);
    expect(await docker("pull", image)).toContain("Downloaded newer image");
    expect(await imageId(image)).toBe(id);
    await docker("image", "rm", image);
    await docker("pull", `${registry.host}/docker/layers@${digest}`);
    expect(await imageId(`${registry.host}/docker/layers@${digest}`)).toBe(id);
    expect(await docker("pull", `${registry.host}/docker/layers@${digest}`)).toContain("Image is up to date");
  });

  test("pushes again without sending a layer twice", async () => {
    const image = `${registry.host}/docker/again:1`;
    await dockerd.build(image, { one: seededBytes(100_000, 11), two: "again" });
    const digest = await push(image);
    expect(await docker("push", image)).toContain("Layer already exists");
    expect(await push(image)).toBe(digest);
  });

  test("mounts layers from another repository", async () => {
    const first = `${registry.host}/docker/mount-from:1`;
    const second = `${registry.host}/docker/mount-to:1`;
    await dockerd.build(first, { one: seededBytes(100_000, 21), two: "mount" });
    const digest = await push(first);
    await docker("tag", first, second);
    expect(await docker("push", second)).toContain("Mounted from docker/mount-from");
    expect(await served("docker/mount-to", "1")).toBe(digest);
    await docker("image", "rm", first, second);
    await docker("pull", second);
  });

  test("moves a tag", async () => {
    const image = `${registry.host}/docker/moved:latest`;
    await dockerd.build(image, { one: "first" });
    const first = await push(image);
    await dockerd.build(image, { one: "second" });
    const second = await push(image);
    expect(second).not.toBe(first);
    expect(await served("docker/moved", "latest")).toBe(second);
    await docker("pull", `${registry.host}/docker/moved@${first}`);
  });

  test("pushes and pulls all tags of a repository", async () => {
    const name = `${registry.host}/docker/all`;
    for (const tag of ["a", "b", "c"]) await dockerd.build(`${name}:${tag}`, { one: tag });
    await docker("push", "--all-tags", name);
    await docker("image", "rm", `${name}:a`, `${name}:b`, `${name}:c`);
    await docker("pull", "--all-tags", name);
    for (const tag of ["a", "b", "c"]) expect(await imageId(`${name}:${tag}`)).toStartWith("sha256:");
  });

  test("makes a manifest list and pulls from it", async () => {
    const name = `${registry.host}/docker/list`;
    for (const architecture of ["amd64", "arm64"]) {
      await dockerd.build(`${name}:${architecture}`, { architecture });
      await push(`${name}:${architecture}`);
    }
    await docker("manifest", "create", "--insecure", `${name}:all`, `${name}:amd64`, `${name}:arm64`);
    await docker("manifest", "annotate", "--arch", "arm64", `${name}:all`, `${name}:arm64`);
    const digest = (await docker("manifest", "push", "--insecure", `${name}:all`)).trim();
    expect(await served("docker/list", "all")).toBe(digest);
    const id = await imageId(`${name}:amd64`);
    await docker("image", "rm", `${name}:amd64`, `${name}:arm64`);
    await docker("pull", `${name}:all`);
    if (process.arch === "x64") expect(await imageId(`${name}:all`)).toBe(id);
    await docker("pull", `${name}@${digest}`);
  });

  test("pushes five images at once", async () => {
    const images = Array.from({ length: 5 }, (_, index) => `${registry.host}/docker/parallel-${index}:1`);
    for (const [index, image] of images.entries()) await dockerd.build(image, { shared: seededBytes(500_000, 30), own: `own ${index}` });
    const digests = await Promise.all(images.map(push));
    for (const [index, digest] of digests.entries()) expect(await served(`docker/parallel-${index}`, "1")).toBe(digest);
  });

  test("is told that a tag or an image does not exist", async () => {
    await expect(docker("pull", `${registry.host}/docker/nothing:1`)).rejects.toThrow(/not found|manifest unknown/);
    await expect(docker("pull", `${registry.host}/docker/layers@${digestOf("nothing")}`)).rejects.toThrow(/not found|manifest unknown/);
  });
});

describeWith(["docker"], "docker with a password", () => {
  test("is refused before login, and pushes and pulls after it", async () => {
    const hash = await Bun.password.hash("correct horse", { algorithm: "bcrypt", cost: 4 });
    await using dockerd = await startDockerd();
    await using folder = await tempFolder();
    const htpasswd = join(folder.path, "htpasswd");
    await Bun.write(htpasswd, `anna:${hash}\n`);
    await using registry = await startRegistry({ config: { auth: { htpasswd: { realm: "tests", path: htpasswd } } } });
    const image = `${registry.host}/private/image:1`;
    await dockerd.build(image, { one: seededBytes(2_000_000, 41) });
    await expect(dockerd.docker("push", image)).rejects.toThrow(/no basic auth credentials|unauthorized|authentication required/);
    await expect(dockerd.docker("login", "--username", "anna", "--password", "wrong", registry.host)).rejects.toThrow(/unauthorized|401/);
    await dockerd.docker("login", "--username", "anna", "--password", "correct horse", registry.host);
    await dockerd.docker("push", image);
    await dockerd.docker("image", "rm", image);
    await dockerd.docker("pull", image);
    await dockerd.docker("logout", registry.host);
    await expect(dockerd.docker("pull", image)).rejects.toThrow(/no basic auth credentials|unauthorized|authentication required/);
  });
});
