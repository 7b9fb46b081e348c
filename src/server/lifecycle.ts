import type { Logger } from "../telemetry/log.ts";

/** What the program does when it is told something from outside. */
export interface LifecycleActions {
  /** Ends orderly; resolves when all is done. */
  stop(signal: NodeJS.Signals): Promise<void>;
  /** Ends at once. */
  kill(): void;
  /** Reads again what can change while running. */
  reload(): Promise<void>;
}

/**
 * Waits for SIGTERM or SIGINT and ends the program through `stop`; a second one ends it at once. SIGHUP reloads.
 * @returns When `stop` is done.
 */
export async function runUntilSignal(actions: LifecycleActions, log: Logger): Promise<void> {
  const first = await new Promise<NodeJS.Signals>((resolve) => {
    let stopping = false;
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        if (stopping) return actions.kill();
        stopping = true;
        resolve(signal);
      });
    }
    process.on("SIGHUP", () => {
      log.info("reloading", { signal: "SIGHUP" });
      void actions.reload().catch((error: unknown) => log.error("reload failed", { "err.message": error instanceof Error ? error.message : String(error) }));
    });
  });
  await actions.stop(first);
}
