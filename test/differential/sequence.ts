import { expect } from "bun:test";
import { type Difference, DIFFERENCES, type DifferenceId, LOGIN_DIFFERENCES } from "./differences.ts";
import { type Answer, exchange, type ExchangeRequest, normalise, type Side } from "./exchange.ts";

/** One request to both registries. */
export interface Step {
  /** For instance `GET unknown blob`. */
  readonly title: string;
  readonly request: ExchangeRequest | ((side: Side) => ExchangeRequest);
  /** The answers differ on purpose, as that row of the table says; otherwise they must be the same. */
  readonly differs?: DifferenceId;
  /** Keeps something of the answer for later steps. */
  readonly then?: (answer: Answer, side: Side) => void;
}

/** Rows of the table that some step has shown to be true. */
const seen = new Set<string>();

/** Sends each step to both and compares the answers. All steps are sent; every deviation is reported. */
export async function compare(distribution: Side, ours: Side, steps: readonly Step[]): Promise<void> {
  const problems: string[] = [];
  for (const step of steps) {
    const [theirs, mine] = [await send(distribution, step), await send(ours, step)];
    const problem = step.differs === undefined ? sameProblem(theirs, mine) : tableProblem(step.differs, theirs, mine);
    if (problem !== undefined) problems.push(`${step.title}: ${problem}`);
  }
  expect(problems).toEqual([]);
}

/** Those of the rows that no step has shown yet. */
export function unseenDifferences(rows: readonly Difference[]): string[] {
  return rows.map(({ id }) => id).filter((id) => !seen.has(id));
}

interface Sent {
  readonly answer: Answer;
  readonly normal: ReturnType<typeof normalise>;
}

async function send(side: Side, step: Step): Promise<Sent> {
  const answer = await exchange(side, typeof step.request === "function" ? step.request(side) : step.request);
  step.then?.(answer, side);
  return { answer, normal: normalise(answer, side) };
}

function sameProblem(theirs: Sent, mine: Sent): string | undefined {
  if (Bun.deepEquals(theirs.normal, mine.normal)) return undefined;
  return `distribution ${summary(theirs, mine)}, ours ${summary(mine, theirs)}`;
}

/** The status of an answer and what is not the same in another. */
function summary({ normal }: Sent, other: Sent): string {
  const headers = Object.entries(normal.headers).filter(([name, value]) => other.normal.headers[name] !== value);
  const body = Bun.deepEquals(normal.body, other.normal.body) ? [] : [JSON.stringify(normal.body)?.slice(0, 200)];
  return [normal.status, ...headers.map(([name, value]) => `${name}: ${value}`), ...body].join(" ");
}

/** The table begins each answer with its status and, for errors, the code. */
function tableProblem(id: DifferenceId, theirs: Sent, mine: Sent): string | undefined {
  const row = [...DIFFERENCES, ...LOGIN_DIFFERENCES].find((each: Difference) => each.id === id);
  if (row === undefined) return `no row ${id}`;
  const problems = [promiseProblem("distribution", row.distribution, theirs), promiseProblem("ours", row.ours, mine)].filter((problem) => problem !== undefined);
  if (Bun.deepEquals(theirs.normal, mine.normal)) problems.push(`row ${id} says that the answers differ, but they are the same: ${JSON.stringify(mine.normal).slice(0, 500)}`);
  if (problems.length === 0) seen.add(id);
  return problems.length === 0 ? undefined : problems.join("; ");
}

function promiseProblem(who: string, promise: string, { answer, normal }: Sent): string | undefined {
  const status = Number(/^\d{3}/.exec(promise)?.[0]);
  const codes = promise.match(/\b[A-Z]+(?:_[A-Z]+)+\b|\b(?:UNKNOWN|UNSUPPORTED|DENIED)\b/g) ?? [];
  if (answer.status !== status) return `${who} promises ${promise}, answers ${JSON.stringify(normal).slice(0, 500)}`;
  if (status < 400 || codes.length === 0) return undefined;
  return codes.some((code) => answer.body.includes(`"${code}"`)) ? undefined : `${who} promises ${promise}, answers ${answer.body}`;
}
