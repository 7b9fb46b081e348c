/*
 * Writes the table of differences from CNCF distribution into README.md, between its markers, from the table that the differential
 * tests hold both registries to. `bun scripts/gen-readme-tables.ts --check` changes nothing and fails when README.md is not up to date.
 */
import { join } from "node:path";
import { type Difference, DIFFERENCES, EVERYWHERE, LOGIN_DIFFERENCES } from "../test/differential/differences.ts";

const README = join(import.meta.dir, "../README.md");
const BEGIN = "<!-- differences: made by scripts/gen-readme-tables.ts -->";
const END = "<!-- /differences -->";

process.exitCode = await main(process.argv.includes("--check"));

async function main(isCheck: boolean): Promise<number> {
  const text = await Bun.file(README).text();
  const start = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (start === -1 || end < start) {
    console.error(`README.md: expected the lines "${BEGIN}" and "${END}"`);
    return 1;
  }
  const updated = `${text.slice(0, start + BEGIN.length)}\n${table([...EVERYWHERE, ...DIFFERENCES, ...LOGIN_DIFFERENCES])}${text.slice(end)}`;
  if (updated === text) return 0;
  if (isCheck) {
    console.error("README.md: the table of differences is not up to date: run bun scripts/gen-readme-tables.ts");
    return 1;
  }
  await Bun.write(README, updated);
  return 0;
}

function table(rows: readonly Difference[]): string {
  const lines = rows.map(({ request, distribution, ours, reason }) => [request, distribution, ours, reason].map((cell) => cell.replaceAll("|", "\\|")).join(" | "));
  return ["| request | distribution 2.8 | ours | why |", "|---|---|---|---|", ...lines.map((line) => `| ${line} |`), ""].join("\n");
}
