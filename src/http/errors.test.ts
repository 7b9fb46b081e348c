import { expect, test } from "bun:test";
import { RegistryError } from "../oci/errors.ts";
import type { LogFields } from "../telemetry/log.ts";
import type { RequestContext } from "./context.ts";
import { errorReply } from "./errors.ts";

/** What is logged of an error that is none for clients. */
function loggedOf(error: unknown): LogFields {
  const lines: LogFields[] = [];
  const request = { method: "PATCH", headers: new Headers(), signal: new AbortController().signal };
  const log = { error: (_message: string, fields: LogFields) => void lines.push(fields) };
  const context = { request, grant: {}, repository: "", argument: "", parts: { log }, withBody: true } as unknown as RequestContext;
  expect(errorReply(error, context).status).toBe(500);
  expect(lines.length).toBe(1);
  return lines[0] ?? {};
}

test("an error is logged with its causes", () => {
  expect(loggedOf(new Error("outer", { cause: new Error("inner") }))["err.message"]).toBe("outer: inner");
});

test("a failure of what tidies up after a failure is logged with both", () => {
  const failures = (): void => {
    using _tidied = {
      [Symbol.dispose]: () => {
        throw new Error("close failed");
      },
    };
    throw new RegistryError("SIZE_INVALID", { message: "too short" });
  };
  let thrown: unknown;
  try {
    failures();
  } catch (error) {
    thrown = error;
  }
  expect(loggedOf(thrown)["err.message"]).toBe("close failed; before that: too short");
});
