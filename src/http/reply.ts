/**
 * An answer before it becomes a Response: a plain object, so that the pipeline can add headers without the cost of a Headers object.
 * Header names are written the way Go's HTTP server writes them; scripts grep for them.
 */
export interface Reply {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: ReplyBody;
  /** Length of the body in bytes, for logs and metrics; 0 for HEAD. */
  readonly sizeBytes: number;
}

/** What a body may be; null for none. */
export type ReplyBody = string | Uint8Array | Blob | ReadableStream<Uint8Array> | null;

/** An answer without a body. */
export function emptyReply(status: number, headers: Record<string, string> = {}): Reply {
  // 204 and 304 must not carry a length; everything else says 0, as clients of distribution expect.
  if (status !== 204 && status !== 304 && headers["Content-Length"] === undefined) headers["Content-Length"] = "0";
  return { status, headers, body: null, sizeBytes: 0 };
}

/**
 * A JSON answer, ended by a newline as Go's encoder ends it.
 * @param withBody False for HEAD: the headers are those of the whole answer.
 */
export function jsonReply(status: number, value: unknown, options: { readonly headers?: Record<string, string>; readonly withBody?: boolean; readonly mediaType?: string } = {}): Reply {
  return textReply(status, `${JSON.stringify(value)}\n`, { ...options, mediaType: options.mediaType ?? "application/json" });
}

/** An answer of ready bytes; the same options as {@link jsonReply}. */
export function bytesReply(status: number, bytes: Uint8Array, options: { readonly headers?: Record<string, string>; readonly withBody?: boolean; readonly mediaType: string }): Reply {
  const headers = options.headers ?? {};
  headers["Content-Type"] = options.mediaType;
  headers["Content-Length"] = String(bytes.length);
  if (options.withBody === false) return { status, headers, body: null, sizeBytes: 0 };
  return { status, headers, body: bytes, sizeBytes: bytes.length };
}

/** An answer of ready text; the same options as {@link jsonReply}. */
export function textReply(status: number, text: string, options: { readonly headers?: Record<string, string>; readonly withBody?: boolean; readonly mediaType: string }): Reply {
  const headers = options.headers ?? {};
  headers["Content-Type"] = options.mediaType;
  const sizeBytes = Buffer.byteLength(text);
  headers["Content-Length"] = String(sizeBytes);
  if (options.withBody === false) return { status, headers, body: null, sizeBytes: 0 };
  return { status, headers, body: text, sizeBytes };
}
