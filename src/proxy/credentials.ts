import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../telemetry/log.ts";

/** Who we are to an upstream. */
export interface UserCredentials {
  readonly username: string;
  readonly password: string;
}

/** Where credentials come from. Never rejects: without credentials the upstream is asked anonymously. */
export type CredentialSource = () => Promise<UserCredentials | undefined>;

/** A program that knows credentials, in the protocol of docker's credential helpers. */
export interface CredentialHelper {
  /** Path of an executable; called with the argument `get`. */
  readonly command: string;
  /** How long an answer is good for; undefined: for ever, 0: for one use. */
  readonly lifetimeMs: number | undefined;
  /** What it is asked for: the upstream's host. */
  readonly host: string;
  readonly clock: Clock;
  readonly log: Logger;
}

const HELPER_TIMEOUT_MS = 30_000;
const HELPER_MAX_BYTES = 64 * 1024;

/** Credentials from a helper program. A helper that fails is logged and asked again at the next use. */
export function helperCredentials(helper: CredentialHelper): CredentialSource {
  let kept: { readonly credentials: UserCredentials; readonly until: number } | undefined;
  let asking: Promise<UserCredentials | undefined> | undefined;
  const ask = async (): Promise<UserCredentials | undefined> => {
    try {
      const credentials = await runHelper(helper);
      kept = { credentials, until: helper.lifetimeMs === undefined ? Number.POSITIVE_INFINITY : helper.clock.now() + helper.lifetimeMs };
      return credentials;
    } catch (error) {
      helper.log.error("credential helper failed", { command: helper.command, "err.message": error instanceof Error ? error.message : String(error) });
      return undefined;
    } finally {
      asking = undefined;
    }
  };
  return () => {
    if (kept !== undefined && helper.clock.now() < kept.until) return Promise.resolve(kept.credentials);
    return (asking ??= ask());
  };
}

async function runHelper(helper: CredentialHelper): Promise<UserCredentials> {
  const child = Bun.spawn([helper.command, "get"], {
    stdin: new Blob([`${helper.host}\n`]),
    stdout: "pipe",
    stderr: "ignore",
    timeout: HELPER_TIMEOUT_MS,
    killSignal: "SIGKILL",
    maxBuffer: HELPER_MAX_BYTES,
  });
  const [output, status] = await Promise.all([child.stdout.text(), child.exited]);
  if (status !== 0) throw new Error(`it ended with status ${status}, expected 0 within ${HELPER_TIMEOUT_MS / 1000} seconds and ${HELPER_MAX_BYTES} bytes`);
  return parseAnswer(output);
}

function parseAnswer(output: string): UserCredentials {
  let answer: unknown;
  try {
    answer = JSON.parse(output);
  } catch {
    // The output may hold a secret: it stays out of the message.
    throw new Error("its output is not JSON");
  }
  const { Username, Secret } = (typeof answer === "object" && answer !== null ? answer : {}) as { Username?: unknown; Secret?: unknown };
  if (typeof Username !== "string" || typeof Secret !== "string") throw new Error("its output lacks Username or Secret, expected both as strings");
  return { username: Username, password: Secret };
}
