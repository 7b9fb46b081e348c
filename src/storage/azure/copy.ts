import { type Clock, SYSTEM_CLOCK } from "../../lib/clock.ts";
import type { Container, CopyState } from "./container.ts";
import { AZURE, AzureCallError } from "./errors.ts";

/** How long a copy is waited for that the store does not make at once. */
export interface CopyRules {
  /** How often it is looked at; -1 is as good as 0. */
  readonly maxLooks: number;
  /** Time before the first look; before the second it is twice as long, and so on. */
  readonly pauseMs: number;
  readonly clock?: Clock;
}

/** A copy to be made within a container. */
export interface BlobCopy {
  readonly key: string;
  /** Only while the source is this one. */
  readonly etag: string;
  readonly destination: string;
}

/**
 * Copies a blob within the store and waits until it is done.
 * @throws Error when it is not done in time; then it is called off, and there is no blob at the destination
 */
export async function copyBlob(container: Container, copy: BlobCopy, rules: CopyRules): Promise<void> {
  const { clock = SYSTEM_CLOCK, maxLooks, pauseMs } = rules;
  let state = await begin(container, copy);
  for (let looks = 0; state.status !== "success"; looks++) {
    const { copyId, status, description } = state;
    if (status === "aborted" || status === "failed") throw new Error(`${AZURE}: copying ${copy.key} to ${copy.destination} ${status}: ${description ?? "the store does not say why"}`);
    if (looks >= maxLooks) return await callOff(container, copy, state, rules);
    await clock.sleep(pauseMs * (looks + 1), container.policy.signal);
    container.policy.signal?.throwIfAborted();
    state = copyId === undefined ? await begin(container, copy) : await stateOf(container, copy, copyId);
  }
}

/** @returns Without an id while somebody else's copy stands in the way. */
async function begin(container: Container, { key, etag, destination }: BlobCopy): Promise<CopyState> {
  try {
    return await container.startCopy({ key, etag }, destination);
  } catch (error) {
    if (error instanceof AzureCallError && error.isBeingCopied) return { copyId: undefined, status: "pending", description: undefined };
    throw error;
  }
}

async function stateOf(container: Container, { key, destination }: BlobCopy, copyId: string): Promise<CopyState> {
  const state = await container.copyState(destination);
  if (state.copyId !== copyId) throw new Error(`${AZURE}: ${destination} was written to by somebody else while ${key} was copied to it`);
  return state;
}

/** @throws Error, unless the copy came to its end just now */
async function callOff(container: Container, { key, destination }: BlobCopy, { copyId }: CopyState, { maxLooks, pauseMs }: CopyRules): Promise<void> {
  if (copyId !== undefined) {
    await container.abortCopy(destination, copyId).catch(() => undefined);
    const last = await container.copyState(destination);
    if (last.copyId === copyId && last.status === "success") return;
    if (last.copyId === copyId && last.status === "aborted") await container.remove(destination);
  }
  throw new Error(`${AZURE}: copying ${key} to ${destination} took too long: raise storage.azure.max_retries (${maxLooks}) or storage.azure.retry_delay (${pauseMs} ms)`);
}
