import { link, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { benchFolder, type Contender, nginxContender, type Server } from "./contender.ts";
import { run } from "./load.ts";
import { setUpLogin } from "./logins.ts";
import { type BigFile, SeededStore, type SeededImage, writeBigFile } from "./seed.ts";
import type { Bench, Reader, Scale, Seed } from "./workload.ts";

/** Sizes of the blobs of the mixes, MiB. */
const MIX_SIZES = [1, 10, 100];
const LARGE_FILE_BYTES = 512 * 1024;

/** Makes what the workloads run on, each thing when it is first asked for. Everything goes away with it. */
export async function openBench(scale: Scale, parent: string): Promise<Bench & AsyncDisposable> {
  const cleanup = new AsyncDisposableStack();
  const { path: folder } = cleanup.use(await benchFolder(parent));
  const scratch = join(folder, "scratch");
  const files = new Map<string, Promise<BigFile>>();
  const servers = new Map<string, Promise<Server>>();
  const certificate = once(() => makeCertificate(scratch));
  const stores = new Map<string, Omit<Reader, "server">>();
  let folders = 0;

  const file = (name: string, options: { sizeMiB: number; seed: number }): Promise<BigFile> => memoise(files, name, () => writeBigFile(join(scratch, name), options));
  const newFolder = async (): Promise<string> => {
    const path = join(folder, `server-${folders++}`);
    await mkdir(path);
    return path;
  };
  const keep = (key: string, start: () => Promise<Server>): Promise<Server> => memoise(servers, key, async () => cleanup.use(await start()));
  const bench: Bench = {
    scale,
    scratch,
    bigFile: (number, sizeMiB) => file(`big-${number}-${sizeMiB}`, { sizeMiB, seed: number + 1 }),
    mixFiles: () => Promise.all(MIX_SIZES.map((sizeMiB) => file(`mix-${sizeMiB}`, { sizeMiB, seed: 1000 + sizeMiB }))),
    async reader(contender, { isTls = false, login } = {}) {
      const key = `${contender.name}-reader-${isTls}-${login ?? "open"}`;
      const server = await keep(key, async () => {
        const path = await newFolder();
        const setup = login === undefined ? undefined : await setUpLogin(login, path);
        stores.set(key, { ...(await seedReader(bench, path)), authorization: setup?.authorization });
        return await contender.start({ folder: path, ...(isTls ? { tls: await certificate() } : {}), ...(setup === undefined ? {} : { auth: setup.auth }) });
      });
      const store = stores.get(key);
      if (store === undefined) throw new Error(`nothing is known of the store of ${key}`);
      return { server, ...store };
    },
    kept: (contender, key, seed) =>
      keep(`${contender.name}-${key}`, async () => {
        const path = await newFolder();
        await seed(new SeededStore(join(path, "data")));
        return await contender.start({ folder: path });
      }),
    fresh: async (contender, options = {}) => await startFresh(contender, await newFolder(), options),
    async upstream(bytesPerSecond) {
      const big = await bench.bigFile(0, scale.bigMiB);
      const server = await keep(`upstream-${bytesPerSecond}`, async () => {
        const path = await newFolder();
        await seedUpstream(join(path, "files"), big);
        return await nginxContender().start({ folder: path, bytesPerSecond });
      });
      return { url: server.url, big };
    },
  };
  await mkdir(scratch);
  return { ...bench, [Symbol.asyncDispose]: () => cleanup.disposeAsync() };
}

async function startFresh(contender: Contender, folder: string, { seed, mirrorOf }: { readonly seed?: Seed; readonly mirrorOf?: string }): Promise<Server> {
  await seed?.(new SeededStore(join(folder, "data")));
  const server = await contender.start({ folder, ...(mirrorOf === undefined ? {} : { mirrorOf }) });
  return {
    ...server,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await removeLargeFiles(folder);
    },
  };
}

/**
 * Makes room for the next round. Small files stay until all is measured: ext4 gives the numbers of files that were just removed to
 * nobody for minutes, and looks through them for each new file, which would be measured with whoever comes next.
 */
async function removeLargeFiles(folder: string): Promise<void> {
  for await (const file of new Bun.Glob("**/*").scan({ cwd: folder, absolute: true, dot: true })) {
    if (Bun.file(file).size >= LARGE_FILE_BYTES) await rm(file);
  }
}

/** As much of a registry as a mirror asks for, in plain files. */
async function seedUpstream(files: string, big: BigFile): Promise<void> {
  await mkdir(join(files, "v2/bench/big/blobs"), { recursive: true });
  await Bun.write(join(files, "v2/index.html"), "{}");
  await link(big.path, join(files, "v2/bench/big/blobs", big.digest));
}

/** Fills a store with what is read, and the folder that nginx serves with the same files. */
async function seedReader(bench: Bench, folder: string): Promise<Omit<Reader, "server" | "authorization">> {
  const store = new SeededStore(join(folder, "data"));
  const big = await bench.bigFile(0, bench.scale.bigMiB);
  await store.addFile("bench/big", big);
  const small = await store.addImage("bench/small", { tags: ["latest"], layers: 1, layerBytes: 1024 });
  const tags = Array.from({ length: 10 }, (_, index) => `tag-${index}`);
  await store.addImage("bench/tags-10", { tags, layers: 1, layerBytes: 1024 });
  const storm = await store.addImage("bench/storm", { tags: ["latest"], layers: 20, layerBytes: bench.scale.stormLayerBytes });
  await mkdir(join(folder, "files"));
  await link(big.path, join(folder, "files/big"));
  await link(store.fileOf(small.manifestDigest), join(folder, "files/manifest"));
  await link(store.fileOf(layerOf(small)), join(folder, "files/layer"));
  return { small, storm, big };
}

function layerOf(image: SeededImage): string {
  const [layer] = image.layers;
  if (layer === undefined) throw new Error(`${image.name} has no layer`);
  return layer;
}

async function makeCertificate(folder: string): Promise<{ certificate: string; key: string }> {
  const certificate = join(folder, "certificate.pem");
  const key = join(folder, "key.pem");
  await run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate]);
  return { certificate, key };
}

function memoise<T>(known: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const found = known.get(key) ?? make();
  known.set(key, found);
  return found;
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}
