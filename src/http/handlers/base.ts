import type { RequestContext } from "../context.ts";
import { type Reply, textReply } from "../reply.ts";

/** Says that this is a registry, and by getting here that the caller may talk to it. @see OCI distribution-spec, "end-1" */
export async function getBase(context: RequestContext): Promise<Reply> {
  return textReply(200, "{}", { mediaType: "application/json", withBody: context.withBody });
}
