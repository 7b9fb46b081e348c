import { LocalWalker, type RepositoryMarks } from "../registry/gc/mark.ts";
import { DirectReader } from "../storage/filesystem/survey/direct-reader.ts";
import type { MarkAnswer, MarkJob, PackedMarks } from "./mark-messages.ts";

/*
 * Walks over repositories for the collector, away from the thread that serves requests. Every job has one answer, in order.
 */

declare const self: Worker;

let walker: LocalWalker | undefined;
/** The answers must come in the order of the jobs, whatever a walk waits for. */
let last: Promise<void> = Promise.resolve();

self.onmessage = (event: MessageEvent<MarkJob>) => {
  last = last.then(async () => self.postMessage(await answerTo(event.data)));
};

async function answerTo({ rootdirectory, tasks }: MarkJob): Promise<MarkAnswer> {
  walker ??= new LocalWalker(new DirectReader(rootdirectory));
  try {
    const found: PackedMarks[] = [];
    for (const task of tasks) found.push(pack(await walker.walk(task)));
    return { found };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

function pack(marks: RepositoryMarks): PackedMarks {
  return { ...marks, live: marks.live.join(" ") };
}
