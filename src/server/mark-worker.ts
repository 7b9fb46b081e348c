import { moveThreadToBackground } from "../lib/background-thread.ts";
import { LocalWalker, type RepositoryMarks } from "../registry/gc/walker.ts";
import { DirectReader } from "../storage/filesystem/survey/direct-reader.ts";
import { type MarkAnswer, type MarkJob, type MarkSettings, packBlobs, packDigests, type PackedMarks, unpackDigests } from "./mark-messages.ts";

/*
 * Looks over a store for the collector, away from the thread that serves requests. Every job has one answer, in order.
 */

declare const self: Worker;

/** Made for the first job: all are about one store. */
let walker: LocalWalker | undefined;
/** The answers must come in the order of the jobs, whatever a walk waits for. */
let last: Promise<void> = Promise.resolve();

self.onmessage = (event: MessageEvent<MarkJob>) => {
  last = last.then(async () => self.postMessage(await answerTo(event.data)));
};

async function answerTo(job: MarkJob): Promise<MarkAnswer> {
  try {
    return await call((walker ??= begin(job.settings)), job);
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

function begin({ rootdirectory, inBackground }: MarkSettings): LocalWalker {
  if (inBackground) moveThreadToBackground();
  return new LocalWalker(new DirectReader(rootdirectory));
}

async function call(on: LocalWalker, job: MarkJob): Promise<MarkAnswer> {
  switch (job.call) {
    case "folders":
      return { folders: await on.folders() };
    case "walk":
      return { marks: (await on.walk(job.tasks)).map((marks) => (marks === undefined ? undefined : pack(marks))) };
    case "shards":
      return { shards: await on.shards() };
    case "blobsIn":
      return { digests: packDigests(await on.blobsIn(job.shards)) };
    case "look":
      return { blobs: packBlobs(await on.look(unpackDigests(job.digests))) };
  }
}

function pack(marks: RepositoryMarks): PackedMarks {
  return { ...marks, live: packDigests(marks.live), strayLayers: packDigests(marks.strayLayers) };
}
