import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../telemetry/log.ts";
import type { AccessController } from "./controller.ts";
import type { AuthOptions } from "./options.ts";
import { openHtpasswdController } from "./htpasswd/controller.ts";
import { openSillyController } from "./silly/controller.ts";
import { openTokenController } from "./token/controller.ts";

/** What access controllers need of the program. */
export interface AuthParts {
  readonly log: Logger;
  readonly clock: Clock;
  /** `http.secret`, which instances share. */
  readonly secret: string | undefined;
  /** Everything before `/v2/` as the client reaches it, for challenges that point back to us; `scheme://host` when absent. */
  readonly baseUrl?: (origin: { readonly scheme: string; readonly host: string }) => string;
}

/**
 * Opens the configured access controller.
 * @returns Undefined when everybody may do everything.
 */
export async function openAccessController(options: AuthOptions, parts: AuthParts): Promise<AccessController | undefined> {
  if (options.silly !== undefined) return openSillyController(options.silly);
  if (options.htpasswd !== undefined) return await openHtpasswdController(options.htpasswd, options.certificate, parts);
  if (options.token !== undefined) return await openTokenController(options.token, parts);
  // Never open to everybody what its operator has closed.
  if (options.certificate?.enabled === true) throw new Error("auth.certificate: users of client certificates need the rules of auth.htpasswd");
  return undefined;
}
