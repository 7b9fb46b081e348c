import type { RequestContext } from "../context.ts";
import { jsonReply, type Reply } from "../reply.ts";

/** Lists the extensions of the API: none beyond the discovery itself. @see OCI distribution-spec, "extensions" */
export async function getExtensions(context: RequestContext): Promise<Reply> {
  const extensions = [{ name: "_oci", description: "Extension discovery", endpoints: ["_oci/ext/discover"] }];
  return jsonReply(200, { extensions }, { withBody: context.withBody });
}
