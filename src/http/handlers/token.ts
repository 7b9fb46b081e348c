import { RegistryError } from "../../oci/errors.ts";
import type { RequestContext } from "../context.ts";
import { readForm } from "../form.ts";
import { jsonReply, type Reply } from "../reply.ts";

/** Gives out a token, where the access controller does so itself: GET with parameters, or POST with a form. */
export async function issueToken(context: RequestContext): Promise<Reply> {
  const endpoint = context.parts.access?.tokenEndpoint;
  if (endpoint === undefined) throw new RegistryError("UNSUPPORTED");
  const { method, headers } = context.request;
  if (method !== "GET" && method !== "POST") throw new RegistryError("UNSUPPORTED", { message: "Method not allowed", headers: { allow: "GET, POST" } });
  const answer = await endpoint.issue({ method, authorization: headers.get("authorization") ?? undefined, parameters: await readForm(context), clientAddress: context.loginAddress });
  return jsonReply(answer.status, answer.json, { headers: { "Cache-Control": "no-store", ...answer.headers } });
}
