import { describe, expect, test } from "bun:test";
import { dirname, join, relative } from "node:path";

const SOURCE = join(import.meta.dir, "../src");

/** What everything may use: vocabulary and tools. */
const VOCABULARY = ["lib", "oci", "telemetry"] as const;

/**
 * What each folder of src may import besides itself and the vocabulary; see the picture in src/README.md. `config` here means its
 * vocabulary (field types), never the whole `Config`, which only `server` and `cli` may see. A folder's own `options.ts` is what
 * the configuration's schema is assembled from, so `config` may import those, and nothing else, from everywhere.
 */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  lib: [],
  oci: ["lib"],
  telemetry: ["lib"],
  config: [...VOCABULARY],
  storage: [...VOCABULARY, "config"],
  cache: [...VOCABULARY, "config"],
  registry: [...VOCABULARY, "config", "storage", "cache"],
  proxy: [...VOCABULARY, "config", "storage", "cache", "registry"],
  auth: [...VOCABULARY, "config"],
  notifications: [...VOCABULARY, "config"],
  health: [...VOCABULARY, "config", "storage"],
  ui: [...VOCABULARY],
  http: [...VOCABULARY, "config", "registry", "auth", "notifications", "health", "ui"],
  server: [...VOCABULARY, "config", "storage", "cache", "registry", "proxy", "auth", "notifications", "health", "http", "ui"],
  cli: [...VOCABULARY, "config", "server", "registry", "storage", "auth"],
};

/** Files at the top of src, which belong to no folder, and who may import them. */
const TOP_FILES: Readonly<Record<string, readonly string[]>> = {
  "main.ts": [],
  "version.ts": ["cli", "server", "http", "telemetry", "proxy", "notifications", "ui"],
};

/** Modules that only some folders may know. */
const OUTSIDE: readonly { readonly module: RegExp; readonly folders: readonly string[] }[] = [
  { module: /^(@aws-sdk\/|@azure\/|@google-cloud\/|ali-oss$)/, folders: ["storage"] },
  { module: /^ioredis$/, folders: ["cache", "server", "health"] },
  { module: /^commander$/, folders: ["cli", "top"] },
  { module: /^nodemailer$/, folders: ["telemetry"] },
  { module: /^prom-client$/, folders: ["telemetry"] },
  { module: /^@opentelemetry\//, folders: ["telemetry"] },
  { module: /^acme-client$/, folders: ["server"] },
  { module: /^jose$/, folders: ["auth"] },
];

interface Import {
  readonly file: string;
  readonly folder: string;
  readonly specifier: string;
  /** Names taken, as written between the braces. */
  readonly names: string;
}

const IMPORTS = await readImports();
const PRODUCT = IMPORTS.filter(({ file }) => !isTest(file));

describe("the folders of src", () => {
  test("are all in the table", () => {
    const folders = new Set(IMPORTS.map(({ folder }) => folder));
    folders.delete("top");
    expect([...folders].filter((folder) => !(folder in ALLOWED))).toEqual([]);
  });

  test("import only what lies below them", () => {
    const wrong = PRODUCT.filter(({ folder }) => folder !== "top").flatMap((each) => {
      const target = targetOf(each);
      if (target === undefined || isAllowed(each.folder, target)) return [];
      return [`src/${each.file}: ${each.folder} may not import ${target}`];
    });
    expect(wrong).toEqual([]);
  });

  test("do not import one another in a circle", () => {
    const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
      (ALLOWED[from] ?? []).some((next) => next === to || (!seen.has(next) && reaches(next, to, seen.add(next))));
    const circles = Object.keys(ALLOWED).filter((folder) => reaches(folder, folder));
    expect(circles).toEqual([]);
  });

  test("know the whole Config only in server, cli and config", () => {
    const wrong = PRODUCT.filter(({ folder }) => !["server", "cli", "config"].includes(folder))
      .filter(({ names }) => /(^|[\s,{])(type )?Config([\s,}]|$)/.test(names))
      .map(({ file }) => `src/${file}`);
    expect(wrong).toEqual([]);
  });

  test("keep outside libraries where they belong", () => {
    const wrong = PRODUCT.flatMap(({ file, folder, specifier }) => {
      const rule = OUTSIDE.find(({ module }) => module.test(specifier));
      return rule === undefined || rule.folders.includes(folder) ? [] : [`src/${file}: ${folder} may not import ${specifier}`];
    });
    expect(wrong).toEqual([]);
  });
});

describe("the source text", () => {
  test("imports our files by relative paths that end in .ts", () => {
    const wrong = IMPORTS.filter(({ specifier }) => /^(\.|\/|src\/)/.test(specifier) && !/^\.{1,2}\/.*\.(ts|tsx|json|yml|html|css|svg|txt)$/.test(specifier));
    expect(wrong.map(({ file, specifier }) => `src/${file}: ${specifier}`)).toEqual([]);
  });

  test("has no Request, Response or status below http", async () => {
    const wrong: string[] = [];
    for (const folder of ["lib", "oci", "storage", "cache", "registry"]) {
      for await (const file of new Bun.Glob(`${folder}/**/*.ts`).scan({ cwd: SOURCE })) {
        if (isTest(file) || SPEAKS_HTTP_OUTWARDS.test(file)) continue;
        const text = withoutComments(await Bun.file(join(SOURCE, file)).text());
        if (/\bnew (Request|Response)\b|: (Request|Response)\b/.test(text)) wrong.push(`src/${file}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("reads process.env in config/env.ts alone", async () => {
    const wrong: string[] = [];
    for await (const file of new Bun.Glob("**/*.ts").scan({ cwd: SOURCE })) {
      if (isTest(file) || ["config/env.ts", "main.ts"].includes(file)) continue;
      if (/\b(process|Bun)\.env\b/.test(withoutComments(await Bun.file(join(SOURCE, file)).text()))) wrong.push(`src/${file}`);
    }
    expect(wrong).toEqual([]);
  });
});

/** Drivers that are HTTP clients of a store. */
const SPEAKS_HTTP_OUTWARDS = /^storage\/(s3|azure|gcs|oss|middleware)\//;

/** Tests, and what stands in `testing` folders for them alone. */
function isTest(file: string): boolean {
  return /\.test\.tsx?$/.test(file) || /(^|\/)testing\//.test(file);
}

function isAllowed(folder: string, target: string): boolean {
  if (target.endsWith(".ts")) return (TOP_FILES[target] ?? []).includes(folder);
  if (target.endsWith("/options")) return folder === "config" || isAllowed(folder, target.slice(0, -"/options".length));
  return target === folder || (ALLOWED[folder] ?? []).includes(target);
}

/** The folder (or top file) that an import of ours leads to; `storage/options` for an options file; undefined for other modules. */
function targetOf({ file, specifier }: Import): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  const path = relative(SOURCE, join(SOURCE, dirname(file), specifier));
  // Files outside src (package.json, config/default.yml) are data.
  if (path.startsWith("..")) return undefined;
  if (!path.includes("/")) return path;
  const folder = path.slice(0, path.indexOf("/"));
  return /(^|\/|-)options\.ts$/.test(path) ? `${folder}/options` : folder;
}

async function readImports(): Promise<Import[]> {
  const found: Import[] = [];
  for await (const file of new Bun.Glob("**/*.{ts,tsx}").scan({ cwd: SOURCE })) {
    const text = withoutComments(await Bun.file(join(SOURCE, file)).text());
    const folder = file.includes("/") ? file.slice(0, file.indexOf("/")) : "top";
    const add = (specifier: string, names: string): number => found.push({ file, folder, specifier, names });
    for (const [, names = "", specifier = ""] of text.matchAll(/^\s*(?:import|export)\s+([^;"']*?)\s*from\s*["']([^"']+)["']/gm)) add(specifier, names);
    for (const [, specifier = ""] of text.matchAll(/^\s*import\s*["']([^"']+)["']/gm)) add(specifier, "");
    for (const [, specifier = ""] of text.matchAll(/\bimport\(\s*["']([^"']+)["']/g)) add(specifier, "");
  }
  return found;
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|[\s;{}(),])\/\/.*$/gm, "$1");
}
