/*
 * `npm test`: installs what the tests need (as root on Debian; elsewhere it says what is missing), builds the executable, checks
 * the types, runs every test file in a process of its own, and ends with one line of totals. `npm test -- wire clients` runs only
 * those suites. REGISTRY_TEST_SKIP=docker,podman names what this machine cannot have; nothing else is ever skipped for want of a
 * service. Names are in test-packages.txt.
 *
 * The suite drives a dozen real servers on whatever machine it finds, so a file that fails is run once more: what fails twice has
 * failed; what then passes is named UNSTABLE at the end, to be mended. More than a few such files are no accident and count as failed.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
/** Suites that are to run first, in this order; the others follow by name. A suite is a folder of `test/`, or one of these two. */
const FIRST = ["unit", "whole", "contract", "config", "auth", "e2e", "wire", "differential", "clients"];
const TEST_TIMEOUT_MS = 60_000;
const FILE_LIMIT_MS = 8 * 60_000;
const TOTAL_LIMIT_MS = 27 * 60_000;
/** So many files may be run a second time. */
const MOST_SECOND_RUNS = 3;

interface Outcome {
  passed: number;
  skipped: number;
  failures: string[];
  /** What failed and passed in a second run. */
  unstable: string[];
}

process.exitCode = await main();

async function main(): Promise<number> {
  const deadline = Date.now() + TOTAL_LIMIT_MS;
  const suites = await findSuites(process.argv.slice(2));
  if (!(await prepare())) {
    console.log(summary({ ...nothing(), failures: ["the tests could not be started"] }));
    return 1;
  }

  const total = nothing();
  let secondRuns = MOST_SECOND_RUNS;
  for (const [name, files] of suites) {
    const started = Date.now();
    const suite = nothing();
    for (const file of files) {
      const first = await runFile(file, deadline);
      const isRunAgain = first.failures.length > 0 && secondRuns-- > 0;
      addOutcome(suite, isRunAgain ? { ...(await runFile(file, deadline)), unstable: first.failures } : first);
    }
    console.log(`${name}: ${summary(suite)} in ${((Date.now() - started) / 1000).toFixed(1)} s`);
    addOutcome(total, suite);
  }
  for (const failure of total.unstable) if (!total.failures.includes(failure)) console.log(`UNSTABLE ${failure}`);
  for (const failure of total.failures) console.log(`FAILED ${failure}`);
  if (total.passed + total.failures.length === 0) console.log("no test ran");
  console.log(summary(total));
  return total.failures.length > 0 || total.passed === 0 ? 1 : 0;
}

function nothing(): Outcome {
  return { passed: 0, skipped: 0, failures: [], unstable: [] };
}

function summary(outcome: Outcome): string {
  const skipped = outcome.skipped > 0 ? `, ${outcome.skipped} skipped` : "";
  return `${outcome.passed} passed, ${outcome.failures.length} failed${skipped}`;
}

/** Test files by suite, in the order to run them. */
async function findSuites(wanted: readonly string[]): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for await (const file of new Bun.Glob("{src,scripts,test}/**/*.test.{ts,tsx}").scan({ cwd: ROOT })) {
    const name = suiteOf(file);
    found.set(name, [...(found.get(name) ?? []), file].sort());
  }
  const unknown = wanted.find((name) => !found.has(name));
  if (unknown !== undefined) throw new Error(`no suite "${unknown}"; there are ${[...found.keys()].sort().join(", ")}`);
  const rank = (name: string): number => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  const names = [...found.keys()].filter((name) => wanted.length === 0 || wanted.includes(name));
  names.sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  return new Map(names.map((name) => [name, found.get(name) ?? []]));
}

function suiteOf(file: string): string {
  const [top, folder, ...rest] = file.split("/");
  if (top !== "test") return "unit";
  return rest.length === 0 || folder === undefined ? "whole" : folder;
}

/** Brings the machine and the tree into the state that the suites expect. */
async function prepare(): Promise<boolean> {
  if (!(await haveCommands())) return false;
  for (const command of [
    ["bun", "scripts/build.ts"],
    ["node_modules/.bin/tsc", "--noEmit"],
  ]) {
    const step = Bun.spawn(command, { cwd: ROOT, stdout: "inherit", stderr: "inherit" });
    if ((await step.exited) !== 0) {
      console.log(`${command.join(" ")} failed`);
      return false;
    }
  }
  return true;
}

async function haveCommands(): Promise<boolean> {
  const skipped = (process.env["REGISTRY_TEST_SKIP"] ?? "").split(",").filter((name) => name !== "");
  if (process.getuid?.() === 0 && (await Bun.file("/etc/debian_version").exists())) {
    const install = Bun.spawn([join(ROOT, "scripts/install-test-packages.sh"), ...skipped], { stdout: "inherit", stderr: "inherit" });
    if ((await install.exited) !== 0) console.log("scripts/install-test-packages.sh failed");
  }
  const missing = (await readPackages()).filter(({ name, command }) => !skipped.includes(name) && Bun.which(command) === null);
  for (const { name, command, packages } of missing) {
    console.log(`missing: ${command} (Debian: ${packages}). Install it, or leave its tests out with REGISTRY_TEST_SKIP=${name}`);
  }
  return missing.length === 0;
}

async function readPackages(): Promise<{ name: string; command: string; packages: string }[]> {
  const lines = (await readFile(join(ROOT, "scripts/test-packages.txt"), "utf8")).split("\n");
  return lines
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [name = "", command = "", ...packages] = line.split(/\s+/);
      return { name, command, packages: packages.join(" ") };
    });
}

function addOutcome(total: Outcome, outcome: Outcome): void {
  total.passed += outcome.passed;
  total.skipped += outcome.skipped;
  total.failures.push(...outcome.failures);
  total.unstable.push(...outcome.unstable);
}

/** Runs a file; its output is shown only when it fails. */
async function runFile(file: string, deadline: number): Promise<Outcome> {
  const limitMs = Math.min(FILE_LIMIT_MS, deadline - Date.now());
  if (limitMs <= 0) return { ...nothing(), failures: [`${file}: not run, the time for all tests was over`] };
  const folder = await mkdtemp(join(tmpdir(), "registry-test-"));
  const report = join(folder, "junit.xml");
  const output = join(folder, "output");
  try {
    const child = Bun.spawn(
      ["bun", "test", "--only-failures", `--timeout=${TEST_TIMEOUT_MS}`, "--reporter=junit", `--reporter-outfile=${report}`, `./${file}`],
      // A group of its own, so that nothing that a file started outlives a file that must be stopped.
      { cwd: ROOT, env: { ...process.env, REGISTRY_TEST_BINARY: join(ROOT, "dist/registry") }, stdout: Bun.file(output), stderr: Bun.file(output), detached: true },
    );
    let isLate = false;
    const stop = (): void => void process.kill(-child.pid, "SIGKILL");
    const timer = setTimeout(() => {
      isLate = true;
      stop();
    }, limitMs);
    // The group does not see the terminal's Ctrl-C.
    const interrupt = (): never => {
      stop();
      process.exit(130);
    };
    process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
    const exitCode = await child.exited;
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
    clearTimeout(timer);
    const outcome = isLate ? { ...nothing(), failures: [`${file}: stopped after ${Math.round(limitMs / 1000)} s`] } : await readReport(report, file);
    if (exitCode !== 0 && outcome.failures.length === 0) outcome.failures.push(`${file}: bun test ended with status ${exitCode}`);
    if (outcome.failures.length > 0) console.log(await Bun.file(output).text());
    return outcome;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Reads Bun's JUnit report. A file that ran no test counts as a failure: it is broken, or forgotten. */
async function readReport(report: string, file: string): Promise<Outcome> {
  const outcome = nothing();
  const xml = (await Bun.file(report).exists()) ? await Bun.file(report).text() : "";
  let count = 0;
  for (const [, attributes = "", end, body = ""] of xml.matchAll(/<testcase ([^>]*?)(\/>|>([\s\S]*?)<\/testcase>)/g)) {
    count++;
    if (end === "/>") outcome.passed++;
    else if (body.includes("<failure") || body.includes("<error")) outcome.failures.push(`${file}: ${testName(attributes)}`);
    else if (body.includes("<skipped")) outcome.skipped++;
    else outcome.passed++;
  }
  if (count === 0) outcome.failures.push(`${file}: ran no test`);
  return outcome;
}

function testName(attributes: string): string {
  return [attribute(attributes, "classname"), attribute(attributes, "name")].filter((part) => part !== "").join(" > ");
}

function attribute(attributes: string, name: string): string {
  const text = new RegExp(`(?:^| )${name}="([^"]*)"`).exec(attributes)?.[1] ?? "";
  return text
    .replace(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)))
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&apos;", "'")
    .replaceAll("&amp;", "&");
}
