import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../telemetry/log.ts";
import type { AccessController } from "./controller.ts";
import type { AuthOptions } from "./options.ts";
import { openSillyController } from "./silly/controller.ts";

/** What access controllers need of the program. */
export interface AuthParts {
  readonly log: Logger;
  readonly clock: Clock;
  /** `http.secret`, which instances share. */
  readonly secret: string | undefined;
}

/**
 * Opens the configured access controller.
 * @returns Undefined when everybody may do everything.
 */
export async function openAccessController(options: AuthOptions, _parts: AuthParts): Promise<AccessController | undefined> {
  if (options.silly !== undefined) return openSillyController(options.silly);
  // Never open to everybody what its operator has closed.
  const closed = (["htpasswd", "token", "certificate"] as const).find((kind) => options[kind] !== undefined);
  if (closed !== undefined) throw new Error(`auth.${closed}: this build cannot check it`);
  return undefined;
}
