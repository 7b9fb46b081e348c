/** What the program does when it is told something from outside. */
export interface LifecycleActions {
  /** Ends orderly; resolves when all is done. */
  stop(signal: NodeJS.Signals): Promise<void>;
  /** Ends at once. */
  kill(): void;
  /** Reads again what can change while running; never rejects. */
  reload(signal: NodeJS.Signals): Promise<void>;
}

/**
 * Waits for SIGTERM or SIGINT and ends the program through `stop`; a second one ends it at once. SIGHUP reloads.
 * @returns When `stop` is done.
 */
export async function runUntilSignal(actions: LifecycleActions): Promise<void> {
  const first = await new Promise<NodeJS.Signals>((resolve) => {
    let stopping = false;
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        if (stopping) return actions.kill();
        stopping = true;
        resolve(signal);
      });
    }
    process.on("SIGHUP", (signal) => void actions.reload(signal));
  });
  await actions.stop(first);
}
