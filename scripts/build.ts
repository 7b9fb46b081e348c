/*
 * Builds the executable: `npm run build` makes dist/registry for this machine, `npm run build -- --all` every target below with
 * dist/SHA256SUMS, `npm run build -- --target linux-arm64` one of them.
 *
 * Workers: the bundler does not follow `new Worker(…)`, so every src/**\/*-worker.ts is an entry point of its own. `naming` puts all
 * entry points side by side in the executable's file system, where the module that starts a worker also seems to live; that makes
 *     new Worker(new URL("./upload-hash-worker.ts", import.meta.url))
 * the one form that works both from source and compiled, from whichever folder. Base names of workers must therefore be unique.
 */
import { mkdir, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { fetchBunRuntime } from "./bun-runtime.ts";

const ROOT = join(import.meta.dir, "..");
const DIST = join(ROOT, "dist");

/** Where the executable can be built for, and the npm package that holds Bun's runtime for it. */
const TARGETS = {
  "linux-x64": { compile: "bun-linux-x64", runtime: "@oven/bun-linux-x64" },
  "linux-arm64": { compile: "bun-linux-arm64", runtime: "@oven/bun-linux-aarch64" },
  "linux-x64-musl": { compile: "bun-linux-x64-musl", runtime: "@oven/bun-linux-x64-musl" },
  "linux-arm64-musl": { compile: "bun-linux-arm64-musl", runtime: "@oven/bun-linux-aarch64-musl" },
  "darwin-arm64": { compile: "bun-darwin-arm64", runtime: "@oven/bun-darwin-aarch64" },
  "darwin-x64": { compile: "bun-darwin-x64", runtime: "@oven/bun-darwin-x64" },
  "windows-x64": { compile: "bun-windows-x64", runtime: "@oven/bun-windows-x64" },
} as const satisfies Record<string, { compile: Bun.Build.CompileTarget; runtime: string }>;

type TargetName = keyof typeof TARGETS;

await main();

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { all: { type: "boolean", default: false }, target: { type: "string", multiple: true, default: [] } },
  });
  await mkdir(DIST, { recursive: true });
  const names = values.all ? targetNames() : values.target.map(parseTarget);
  await using folder = await buildFolder();
  const profile = await recordStart(folder.path);
  if (names.length === 0) {
    await compile(join(DIST, "registry"), folder.path, { bytecodeOrder: profile });
    return;
  }
  const files: string[] = [];
  for (const name of names) {
    const file = join(DIST, `registry-${name}${name.startsWith("windows") ? ".exe" : ""}`);
    const { compile: target, runtime } = TARGETS[name];
    await compile(file, folder.path, { target, executablePath: await fetchBunRuntime(runtime), bytecodeOrder: profile });
    files.push(file);
  }
  await writeChecksums(files);
}

function targetNames(): TargetName[] {
  return Object.keys(TARGETS).map(parseTarget);
}

function parseTarget(text: string): TargetName {
  for (const name in TARGETS) if (name === text) return text as TargetName;
  throw new Error(`--target: found "${text}", expected one of ${Object.keys(TARGETS).join(", ")}`);
}

/** What differs between the executables of one build. */
type Output = Pick<Bun.CompileBuildOptions, "target" | "executablePath" | "bytecodeOrder">;

/**
 * Everything is built aside and renamed: a running server keeps its executable, a failed build leaves the last good one, and the
 * copies of the source maps that the bundler leaves beside its output (it embeds them too) go away with the folder.
 */
async function buildFolder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = join(DIST, `.building-${process.pid}`);
  await mkdir(path, { recursive: true });
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

async function compile(outfile: string, folder: string, output: Output): Promise<void> {
  const started = performance.now();
  const built = join(folder, basename(outfile));
  await bundle({ ...output, outfile: built });
  await rename(built, outfile);
  const sizeMiB = Bun.file(outfile).size / 1024 / 1024;
  console.log(`${outfile.slice(ROOT.length + 1)}  ${sizeMiB.toFixed(1)} MiB  ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

/**
 * Builds once for this machine and serves one request with it, to learn which functions starting takes. Laid out by that profile, an
 * executable starts some 10 ms sooner and with 3 MiB less. One profile is good for every target.
 * @returns The profile's path; false, with a warning, when the server cannot be started here.
 */
async function recordStart(folder: string): Promise<string | false> {
  const binary = join(folder, "recorder");
  const profile = join(folder, "start.order");
  const config = join(folder, "config.yml");
  await bundle({ outfile: binary });
  await Bun.write(config, JSON.stringify({ version: 0.1, storage: { filesystem: { rootdirectory: join(folder, "storage") } }, http: { addr: "127.0.0.1:0", secret: "none" } }));
  const server = Bun.spawn([binary, "serve", config], { env: { BUN_BYTECODE_ORDER_OUT: profile }, stdin: "ignore", stdout: "ignore", stderr: "pipe", timeout: 20_000 });
  let log = "";
  let isAsked = false;
  for await (const text of server.stderr.pipeThrough(new TextDecoderStream())) {
    log += text;
    const address = /listening on ([^\s",]+)/.exec(log)?.[1];
    if (address === undefined || isAsked) continue;
    isAsked = true;
    await (await fetch(`http://${address}/v2/`)).text();
    server.kill("SIGTERM");
  }
  await server.exited;
  if (await Bun.file(profile).exists()) return profile;
  console.warn(`building without a profile of the start: the server did not run here\n${log}`);
  return false;
}

async function bundle(output: Output & { readonly outfile: string }): Promise<void> {
  await Bun.build({
    entrypoints: [join(ROOT, "src/main.ts"), ...(await workerFiles())],
    naming: { entry: "[name].[ext]" },
    format: "esm",
    // What is imported lazily (the cloud SDKs) stays in chunks of its own: an idle server is 16 MiB smaller.
    splitting: true,
    minify: true,
    bytecode: true,
    sourcemap: "linked",
    // Wanted by the OSS client's HTTP library only when its proxy option is set, which we never do.
    external: ["proxy-agent"],
    define: {
      "process.env.NODE_ENV": JSON.stringify("production"),
      REGISTRY_BUILD_COMMIT: JSON.stringify(await commit()),
    },
    compile: {
      ...output,
      // Bun's 16 KiB would refuse bearer tokens that grant many scopes; Go's servers take 1 MiB.
      execArgv: ["--max-http-header-size=131072"],
      // A server must not take settings from a file that lies in the folder it was started in.
      autoloadDotenv: false,
      autoloadBunfig: false,
    },
    throw: true,
  });
}

async function workerFiles(): Promise<string[]> {
  const files = await Array.fromAsync(new Bun.Glob("src/**/*-worker.ts").scan({ cwd: ROOT, absolute: true }));
  const names = files.map((file) => basename(file));
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new Error(`two workers are called ${twice}: workers share one folder in the executable`);
  return files.sort();
}

async function commit(): Promise<string> {
  const result = await Bun.$`git rev-parse --short=12 HEAD`.cwd(ROOT).quiet().nothrow();
  return result.exitCode === 0 ? result.stdout.toString().trim() : "unknown";
}

/** Writes dist/SHA256SUMS in the form that `sha256sum --check` reads. */
async function writeChecksums(files: readonly string[]): Promise<void> {
  const lines: string[] = [];
  for (const file of files) {
    const hasher = new Bun.CryptoHasher("sha256");
    for await (const chunk of Bun.file(file).stream()) hasher.update(chunk);
    lines.push(`${hasher.digest("hex")}  ${basename(file)}\n`);
  }
  await Bun.write(join(DIST, "SHA256SUMS"), lines.join(""));
}
