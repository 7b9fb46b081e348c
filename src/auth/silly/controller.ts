import { bearerChallenge } from "../challenge.ts";
import { type AccessController, AccessRefusedError, type Grant } from "../controller.ts";
import type { SillyOptions } from "./options.ts";

/** An access controller that takes whatever is in an Authorization header; for tests of clients. */
export function openSillyController(options: SillyOptions): AccessController {
  const grant: Grant = { user: "silly" };
  return {
    async authorize(credentials, required) {
      if (credentials.authorization !== undefined && credentials.authorization !== "") return grant;
      // Distribution's silly controller writes a scope for each record, not for each resource.
      const scope = required.map((access) => `${access.type}:${access.name}:${access.action}`).join(" ");
      throw new AccessRefusedError("unauthenticated", "authorization required", { required, challenge: bearerChallenge({ ...options, scope }) });
    },
  };
}
