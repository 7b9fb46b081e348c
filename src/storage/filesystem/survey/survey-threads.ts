import { availableParallelism } from "node:os";
import { NAME_END, type RemovalAnswer, type RemovalJob, type SurveyAnswer, type SurveyJob, type SurveyOutcome, type SurveyQuestion } from "./survey-messages.ts";

const MAX_THREADS = 4;
/** So many questions go to a thread in one message: enough that the message costs little, few enough that all threads have some. */
const QUESTIONS_PER_JOB = 128;

interface Waiting {
  readonly question: SurveyQuestion;
  readonly resolve: (outcome: SurveyOutcome) => void;
  readonly reject: (error: unknown) => void;
}

/** What a thread was asked and has not answered. */
interface Pending {
  settle(answer: SurveyAnswer | RemovalAnswer): void;
  fail(error: unknown): void;
}

/** Threads that look at files, started when there is something to do. Questions that come in one turn of the event loop are sent together. */
export class SurveyThreads implements Disposable {
  #threads: readonly Thread[] | undefined;
  #isOver = false;
  /** By what is asked. */
  readonly #gathered = new Map<string, Waiting[]>();
  #isSendPlanned = false;

  ask(question: SurveyQuestion): Promise<SurveyOutcome> {
    if (this.#isOver) return Promise.reject(over());
    return new Promise((resolve, reject) => {
      const key = `${question.op} ${question.maxBytes}`;
      const gathered = this.#gathered.get(key);
      if (gathered === undefined) this.#gathered.set(key, [{ question, resolve, reject }]);
      else gathered.push({ question, resolve, reject });
      if (this.#isSendPlanned) return;
      this.#isSendPlanned = true;
      setImmediate(() => this.#send());
    });
  }

  remove(job: RemovalJob): Promise<RemovalAnswer> {
    if (this.#isOver) return Promise.reject(over());
    return new Promise((resolve, reject) => this.#leastBusy().run(job, { settle: (answer) => resolve(answer as RemovalAnswer), fail: reject }));
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    for (const thread of this.#threads ?? []) thread.stop(over());
    for (const gathered of this.#gathered.values()) reject(gathered, over());
    this.#gathered.clear();
  }

  #send(): void {
    this.#isSendPlanned = false;
    for (const gathered of this.#gathered.values()) {
      for (let start = 0; start < gathered.length; start += QUESTIONS_PER_JOB) this.#ask(gathered.slice(start, start + QUESTIONS_PER_JOB));
    }
    this.#gathered.clear();
  }

  #ask(asked: readonly Waiting[]): void {
    const [first] = asked;
    if (first === undefined) return;
    const job: SurveyJob = { op: first.question.op, maxBytes: first.question.maxBytes, files: asked.map(({ question }) => question.file).join(NAME_END) };
    this.#leastBusy().run(job, { settle: (answer) => settle(asked, answer as SurveyAnswer), fail: (error) => reject(asked, error) });
  }

  #leastBusy(): Thread {
    this.#threads ??= Array.from({ length: Math.min(MAX_THREADS, availableParallelism()) }, () => new Thread());
    return this.#threads.reduce((best, thread) => (thread.pending < best.pending ? thread : best));
  }
}

class Thread {
  readonly #worker: Worker;
  /** The worker answers in order. */
  #jobs: Pending[] = [];
  #failure: Error | undefined;

  constructor() {
    // The one form of URL that is found both in the source tree and in the compiled executable.
    this.#worker = new Worker(new URL("./survey-worker.ts", import.meta.url));
    this.#worker.onmessage = (event: MessageEvent<SurveyAnswer | RemovalAnswer>) => this.#jobs.shift()?.settle(event.data);
    this.#worker.onerror = (event) => this.stop(new Error(`a thread that looks at files failed: ${event.message}`));
  }

  get pending(): number {
    return this.#jobs.length;
  }

  run(job: SurveyJob | RemovalJob, pending: Pending): void {
    if (this.#failure !== undefined) return pending.fail(this.#failure);
    this.#jobs.push(pending);
    this.#worker.postMessage(job);
  }

  stop(failure: Error): void {
    this.#failure ??= failure;
    this.#worker.terminate();
    const jobs = this.#jobs;
    this.#jobs = [];
    for (const job of jobs) job.fail(failure);
  }
}

function over(): Error {
  return new Error("the survey is over");
}

function settle(asked: readonly Waiting[], { outcomes, bytes }: SurveyAnswer): void {
  let start = 0;
  for (const [index, { resolve, reject: fail }] of asked.entries()) {
    const outcome = outcomes[index];
    if (outcome === undefined) fail(new Error("a thread that looks at files gave no answer"));
    else if (typeof outcome !== "number") resolve(outcome);
    else {
      resolve(bytes.subarray(start, outcome));
      start = outcome;
    }
  }
}

function reject(asked: readonly Waiting[], failure: unknown): void {
  for (const waiting of asked) waiting.reject(failure);
}
