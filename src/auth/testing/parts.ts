import { TestClock } from "../../registry/testing/test-clock.ts";
import type { LogFields, Logger, LogLevel } from "../../telemetry/log.ts";
import { AccessRefusedError, type Access, type AccessController, type Credentials, type Grant } from "../controller.ts";
import type { AuthParts } from "../open.ts";

/** A line that was logged. */
export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** A logger that keeps what it is told. */
export function recordingLogger(lines: LogLine[]): Logger {
  const add =
    (level: LogLevel) =>
    (message: string, fields: LogFields = {}): void =>
      void lines.push({ level, message, fields });
  const log: Logger = { error: add("error"), warn: add("warn"), info: add("info"), debug: add("debug"), isEnabled: () => true, child: () => log };
  return log;
}

/** What controllers are opened with in tests: a clock that stands still, and a log that can be read. */
export function testParts(): AuthParts & { readonly clock: TestClock; readonly lines: readonly LogLine[] } {
  const lines: LogLine[] = [];
  return { clock: new TestClock(), log: recordingLogger(lines), lines, secret: "a secret of the tests" };
}

/** A client on one address. */
export function credentialsOf(authorization: string | undefined, changes: Partial<Credentials> = {}): Credentials {
  return { authorization, clientAddress: "192.0.2.1", scheme: "https", host: "registry.test", ...changes };
}

/** The header of a login. */
export function basicHeader(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}

/** Access to a repository. */
export function access(action: Access["action"], name = "team/app"): Access {
  return { type: "repository", name, action };
}

/** Access to the catalog. */
export const CATALOG: Access = { type: "registry", name: "catalog", action: "*" };

/** How a request was refused. @throws Error when it was not */
export async function refusal(request: Promise<Grant>): Promise<AccessRefusedError> {
  try {
    await request;
  } catch (error) {
    if (error instanceof AccessRefusedError) return error;
    throw error;
  }
  throw new Error("the request was allowed");
}

/** Whether a request is allowed, or how it is refused. */
export async function outcomeOf(controller: AccessController, credentials: Credentials, required: readonly Access[]): Promise<"allowed" | AccessRefusedError["outcome"]> {
  try {
    await controller.authorize(credentials, required);
    return "allowed";
  } catch (error) {
    if (error instanceof AccessRefusedError) return error.outcome;
    throw error;
  }
}
