import { availableParallelism } from "node:os";
import { NAME_END, type SurveyAnswer, type SurveyJob, type SurveyOutcome, type SurveyQuestion } from "./survey-messages.ts";

const MAX_THREADS = 4;
/** So many questions go to a thread in one message: enough that the message costs little, few enough that all threads have some. */
const QUESTIONS_PER_JOB = 128;

interface Waiting {
  readonly question: SurveyQuestion;
  readonly resolve: (outcome: SurveyOutcome) => void;
  readonly reject: (error: unknown) => void;
}

/** Threads that look at files. Questions that come in one turn of the event loop are sent together. */
export class SurveyThreads implements Disposable {
  readonly #threads: readonly Thread[];
  /** By what is asked. */
  readonly #gathered = new Map<string, Waiting[]>();
  #isSendPlanned = false;

  constructor() {
    this.#threads = Array.from({ length: Math.min(MAX_THREADS, availableParallelism()) }, () => new Thread());
  }

  ask(question: SurveyQuestion): Promise<SurveyOutcome> {
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

  [Symbol.dispose](): void {
    for (const thread of this.#threads) thread.stop(new Error("the survey is over"));
  }

  #send(): void {
    this.#isSendPlanned = false;
    for (const gathered of this.#gathered.values()) {
      for (let start = 0; start < gathered.length; start += QUESTIONS_PER_JOB) this.#leastBusy().run(gathered.slice(start, start + QUESTIONS_PER_JOB));
    }
    this.#gathered.clear();
  }

  #leastBusy(): Thread {
    return this.#threads.reduce((best, thread) => (thread.pending < best.pending ? thread : best));
  }
}

class Thread {
  readonly #worker: Worker;
  /** The worker answers in order. */
  #jobs: (readonly Waiting[])[] = [];
  #failure: Error | undefined;

  constructor() {
    // The one form of URL that is found both in the source tree and in the compiled executable.
    this.#worker = new Worker(new URL("./survey-worker.ts", import.meta.url));
    this.#worker.onmessage = (event: MessageEvent<SurveyAnswer>) => this.#settle(event.data);
    this.#worker.onerror = (event) => this.stop(new Error(`a thread that looks at files failed: ${event.message}`));
  }

  get pending(): number {
    return this.#jobs.length;
  }

  run(job: readonly Waiting[]): void {
    const [first] = job;
    if (first === undefined) return;
    if (this.#failure !== undefined) return reject(job, this.#failure);
    this.#jobs.push(job);
    const message: SurveyJob = { op: first.question.op, maxBytes: first.question.maxBytes, files: job.map(({ question }) => question.file).join(NAME_END) };
    this.#worker.postMessage(message);
  }

  stop(failure: Error): void {
    this.#failure ??= failure;
    this.#worker.terminate();
    const jobs = this.#jobs;
    this.#jobs = [];
    for (const job of jobs) reject(job, failure);
  }

  #settle({ outcomes, bytes }: SurveyAnswer): void {
    let start = 0;
    for (const [index, { resolve, reject: fail }] of (this.#jobs.shift() ?? []).entries()) {
      const outcome = outcomes[index];
      if (outcome === undefined) fail(new Error("a thread that looks at files gave no answer"));
      else if (typeof outcome !== "number") resolve(outcome);
      else {
        resolve(bytes.subarray(start, outcome));
        start = outcome;
      }
    }
  }
}

function reject(job: readonly Waiting[], failure: Error): void {
  for (const waiting of job) waiting.reject(failure);
}
