/** What the JSON API answers when it refuses. */
export class ApiError extends Error {
  readonly status: number;
  readonly reason: string;
  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

/** An error in the form of the JSON API; downloads have a line of text instead. */
export function errorResponse({ status, reason, message }: ApiError, isMedia: boolean): Response {
  if (isMedia) return new Response(message, { status, headers: { "content-type": "text/html; charset=UTF-8" } });
  return Response.json({ error: { code: status, message, errors: [{ message, domain: "global", reason }] } }, { status });
}

/** An error in the form of the XML API, which signed URLs lead to. */
export function xmlError(status: number, code: string, message: string): Response {
  return new Response(`<?xml version='1.0' encoding='UTF-8'?><Error><Code>${code}</Code><Message>${message}</Message></Error>`, { status, headers: { "content-type": "application/xml; charset=UTF-8" } });
}

/** Keeps the fields that were asked for: `a,b,items(a,b)`. @throws ApiError for what is no such list */
export function selectFields(resource: object, fields: string | null): unknown {
  if (fields === null) return resource;
  if (!/^[A-Za-z0-9]+(\([A-Za-z0-9,]+\))?(,[A-Za-z0-9]+(\([A-Za-z0-9,]+\))?)*$/.test(fields)) throw new ApiError(400, "invalidParameter", `Invalid field selection ${fields}`);
  const selected: Record<string, unknown> = {};
  for (const [, name = "", , inner] of fields.matchAll(/([A-Za-z0-9]+)(\(([^)]*)\))?/g)) {
    const value = (resource as Readonly<Record<string, unknown>>)[name];
    if (value === undefined) continue;
    if (inner === undefined) selected[name] = value;
    else if (Array.isArray(value)) selected[name] = value.map((each: object) => selectFields(each, inner));
    else throw new ApiError(400, "invalidParameter", `Invalid field selection ${name}`);
  }
  return selected;
}
