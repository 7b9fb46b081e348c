import type { Logger } from "../../telemetry/log.ts";
import type { Answer, SignedRequest } from "./transport.ts";

/** The words that `loglevel` knows; all others mean `off`. */
const LEVELS = ["debug", "debugwithsigning", "debugwithhttpbody", "debugwithrequestretries", "debugwithrequesterrors", "debugwitheventstreambody"];
const MAX_BODY_CHARACTERS = 4096;

/**
 * Tells of every request to the store, as `storage.s3.loglevel` wants it. Lines come at the level info: who sets a level here wants
 * to see them. Never a signature, a credential or the content of an object.
 */
export class RequestLog {
  readonly #log: Logger;
  readonly #level: string;

  constructor(log: Logger, loglevel: string) {
    this.#log = log;
    const level = loglevel.toLowerCase();
    this.#level = LEVELS.includes(level) ? level : "off";
  }

  /** An answer came, of whatever status. */
  answered(request: SignedRequest, answer: Answer, durationMs: number): void {
    if (this.#level === "off") return;
    this.#log.info("request to the store", {
      ...this.#fields(request, durationMs),
      "http.response.status": answer.statusCode,
      ...(answer.headers["x-amz-request-id"] === undefined ? {} : { "store.request.id": answer.headers["x-amz-request-id"] }),
      ...(this.#level === "debugwithhttpbody" ? bodies(request, answer) : {}),
    });
  }

  /** No answer came. */
  failed(request: SignedRequest, error: unknown, durationMs: number): void {
    if (this.#level === "off") return;
    this.#log.info("request to the store failed", { ...this.#fields(request, durationMs), "err.message": error instanceof Error ? error.message : String(error) });
  }

  #fields({ method, hostname, path, query = {}, headers }: SignedRequest, durationMs: number): Record<string, unknown> {
    const attempt = headers["amz-sdk-request"];
    return {
      "http.request.method": method,
      "http.request.host": hostname,
      "http.request.uri": path,
      "http.request.query": Object.keys(query).filter((name) => !/signature|credential|token/i.test(name)).join("&"),
      "duration.ms": Math.round(durationMs),
      ...(attempt === undefined ? {} : { "store.attempt": attempt }),
      ...(this.#level === "debugwithsigning" ? { "store.signed": /SignedHeaders=[^,]*/.exec(headers["authorization"] ?? "")?.[0] ?? "", "store.date": headers["x-amz-date"] ?? "" } : {}),
    };
  }
}

/** Bodies of lists, errors and orders; never of objects. */
function bodies(request: SignedRequest, answer: Answer): Record<string, unknown> {
  return {
    ...(typeof request.body === "string" ? { "http.request.body": request.body.slice(0, MAX_BODY_CHARACTERS) } : {}),
    ...(answer.body instanceof Uint8Array && answer.body.length > 0 ? { "http.response.body": Buffer.from(answer.body).toString("utf8", 0, MAX_BODY_CHARACTERS) } : {}),
  };
}
