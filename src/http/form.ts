import { RegistryError } from "../oci/errors.ts";
import { readBody, watchedBody } from "./body.ts";
import type { RequestContext } from "./context.ts";

const MAX_FORM_BYTES = 16 * 1024;

/**
 * The parameters of query and form in one, as Go's FormValue has them; a body is only read where its type says that it is a form.
 * @throws RegistryError SIZE_INVALID, status 413, for a form that is too large
 */
export async function readForm(context: RequestContext): Promise<URLSearchParams> {
  const stream = context.request.body;
  if (stream === null || context.contentType() !== "application/x-www-form-urlencoded") return context.query;
  const tooLarge = (): RegistryError => new RegistryError("SIZE_INVALID", { status: 413, message: "the form is too large" });
  const bytes = await readBody(watchedBody(stream, context.parts.options.stallTimeoutMs), MAX_FORM_BYTES, tooLarge);
  const form = new URLSearchParams(new TextDecoder().decode(bytes));
  // Whoever asks for the first value, as authorization does, gets the query's first.
  for (const key of new Set(context.query.keys())) form.delete(key);
  for (const [key, value] of context.query) form.append(key, value);
  return form;
}
