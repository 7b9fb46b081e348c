import { type Access, type AccessController, AccessRefusedError, type Credentials, type Grant } from "../controller.ts";
import { quote } from "../challenge.ts";
import type { SillyOptions } from "./options.ts";

/** An access controller that takes whatever is in an Authorization header; for tests of clients. */
export function openSillyController(options: SillyOptions): AccessController {
  const grant: Grant = { user: "silly" };
  return {
    async authorize(credentials: Credentials, required: readonly Access[]): Promise<Grant> {
      if (credentials.authorization !== undefined && credentials.authorization !== "") return grant;
      const scopes = required.map((access) => `${access.type}:${access.name}:${access.action}`);
      const scope = scopes.length === 0 ? "" : `,scope=${quote(scopes.join(" "))}`;
      throw new AccessRefusedError("unauthenticated", "authorization required", { required, challenge: `Bearer realm=${quote(options.realm)},service=${quote(options.service)}${scope}` });
    },
  };
}
