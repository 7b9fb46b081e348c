import { AccessRefusedError } from "../auth/controller.ts";
import { type ErrorEntry, RegistryError } from "../oci/errors.ts";
import type { LogFields } from "../telemetry/log.ts";
import type { RequestContext } from "./context.ts";
import { jsonReply, type Reply } from "./reply.ts";

/** The one door through which everything that was thrown becomes an answer. What is no error for clients becomes a 500 and a log line. */
export function errorReply(error: unknown, context: RequestContext): Reply {
  if (error instanceof RegistryError) return registryErrorReply(error, context);
  if (error instanceof AccessRefusedError) return refusalReply(error, context);
  if (context.request.signal.aborted) context.parts.log.info("the client went away", { ...requestFields(context), "err.message": describe(error) });
  else context.parts.log.error("request failed", { ...requestFields(context), "err.message": describe(error), ...(error instanceof Error && error.stack !== undefined ? { "err.stack": error.stack } : {}) });
  return entriesReply(500, [{ code: "UNKNOWN", message: "unknown error" }], context);
}

/** The fields that log lines of one request carry. @param outcome Those of its answer, `http.response.…`, by key. */
export function requestFields(context: RequestContext, outcome?: LogFields): LogFields {
  // In the order of the log's keys: it need not sort them.
  const { request, repository, argument } = context;
  const fields: Record<string, unknown> = {
    "auth.user.name": context.grant.user,
    "http.request.host": request.headers.get("host") ?? "",
    "http.request.id": context.id,
    "http.request.method": request.method,
    "http.request.remoteaddr": context.clientAddress,
    "http.request.uri": context.path,
    "http.request.useragent": request.headers.get("user-agent") ?? "",
    ...outcome,
    "vars.name": repository === "" ? undefined : repository,
    "vars.reference": argument === "" ? undefined : argument,
  };
  return fields;
}

function registryErrorReply(error: RegistryError, context: RequestContext): Reply {
  if (error.status >= 500) {
    context.parts.log.error("request failed", { ...requestFields(context), "err.code": error.code, "err.message": error.message, "err.cause": describe(error.cause) });
  }
  return entriesReply(error.status, error.entries, context, error.headers);
}

function refusalReply(error: AccessRefusedError, context: RequestContext): Reply {
  // With a proxy that is not named in http.trustedproxies it is the proxy's address that has to wait: that must be seen.
  const counted = error.outcome === "throttled" ? { "auth.address": context.loginAddress } : {};
  context.parts.log.warn("error authorizing context", { ...requestFields(context), ...counted, "err.message": error.message });
  const records = error.required.map((access) => ({ Type: access.type, Class: "", Name: access.name, Action: access.action }));
  const detail = records.length === 0 ? null : records;
  switch (error.outcome) {
    case "unauthenticated":
      return entriesReply(401, [{ code: "UNAUTHORIZED", message: "authentication required", detail }], context, error.challenge === undefined ? {} : { "WWW-Authenticate": error.challenge });
    case "denied":
      return entriesReply(403, [{ code: "DENIED", message: "requested access to the resource is denied", detail }], context);
    case "throttled":
      return entriesReply(429, [{ code: "TOOMANYREQUESTS", message: "too many requests" }], context, { "Retry-After": String(error.retryAfterSeconds ?? 1) });
  }
}

function entriesReply(status: number, entries: readonly ErrorEntry[], context: RequestContext, headers: Readonly<Record<string, string>> = {}): Reply {
  return jsonReply(status, { errors: entries }, { headers: canonical(headers), withBody: context.withBody });
}

function canonical(headers: Readonly<Record<string, string>>): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    result[name.replace(/(^|-)([a-z])/g, (_, dash: string, letter: string) => dash + letter.toUpperCase())] = value;
  }
  return result;
}

function describe(error: unknown): string {
  // What tidied up after a failure failed, too; its own text is empty.
  if (error instanceof SuppressedError) return `${describe(error.error)}; before that: ${describe(error.suppressed)}`;
  if (error instanceof Error) return error.cause === undefined ? error.message : `${error.message}: ${describe(error.cause)}`;
  return error === undefined ? "" : String(error);
}
