import { expect, test } from "bun:test";
import { DEFAULT_CONNECTIONS } from "../http/options.ts";
import type { Logger } from "../telemetry/log.ts";
import { ConnectionLimit } from "./connection-limit.ts";

function limitOf(configured: number, descriptorsEach: number, most: number): { readonly limit: number | undefined; readonly lines: readonly string[] } {
  const lines: string[] = [];
  const write = (level: string) => (message: string) => void lines.push(`${level} ${message}`);
  const log: Logger = { isEnabled: () => true, debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error"), child: () => log };
  return { limit: ConnectionLimit.of({ configured, descriptorsEach, log }, most)?.limit, lines };
}

test("ConnectionLimit.of is the configured limit where files can be opened besides, and never more than that", () => {
  expect(limitOf(500, 2, 1_000_000)).toEqual({ limit: 500, lines: [] });
  expect(limitOf(500, 2, 1024)).toEqual({ limit: 448, lines: ["warn connections are limited to what the limit of open files has room for"] });
  expect(limitOf(500, 4, 1024)).toEqual({ limit: 224, lines: ["warn connections are limited to what the limit of open files has room for"] });
  expect(limitOf(500, 2, 64).limit).toBe(1);
  expect(limitOf(500, 2, Number.POSITIVE_INFINITY).limit).toBe(500);
});

test("ConnectionLimit.of informs who has asked for nothing", () => {
  expect(limitOf(DEFAULT_CONNECTIONS, 2, 1024).lines).toEqual(["info connections are limited to what the limit of open files has room for"]);
});

test("ConnectionLimit.of makes none of 0", () => {
  expect(limitOf(0, 2, 1024)).toEqual({ limit: undefined, lines: [] });
});
