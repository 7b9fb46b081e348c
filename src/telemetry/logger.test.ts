import { describe, expect, test } from "bun:test";
import { openAccessLog } from "../http/access-log.ts";
import { openLogger, type LoggerOptions } from "./logger.ts";
import { redactUri } from "./redact-uri.ts";

function collect(options: Partial<LoggerOptions> = {}): { readonly lines: string[]; readonly logger: ReturnType<typeof openLogger> } {
  const lines: string[] = [];
  const logger = openLogger({ level: "info", format: "text", fields: { service: "registry" }, reportCaller: false, ...options }, { write: (line) => void lines.push(line), flush: () => undefined });
  return { lines, logger };
}

describe("openLogger", () => {
  test("writes logrus' text: its own three, then fields by key, quoted where needed", () => {
    const { lines, logger } = collect();
    logger.warn("a message", { "http.request.host": "h:5000", b: "", a: 3, plain: "x-y_z/1.2" });
    expect(lines[0]).toMatch(/^time="[^"]+Z" level=warning msg="a message" a=3 b= http\.request\.host="h:5000" plain=x-y_z\/1\.2 service=registry\n$/);
  });
  test("writes JSON with sorted keys", () => {
    const { lines, logger } = collect({ format: "json" });
    logger.child({ zone: "z" }).error("broken", { "err.code": "x<y>" });
    const json = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
    expect(Object.keys(json)).toEqual(["err.code", "level", "msg", "service", "time", "zone"]);
    expect(json).toMatchObject({ level: "error", msg: "broken", "err.code": "x<y>", zone: "z" });
  });
  test("leaves out what is below the level, which can change", () => {
    const { lines, logger } = collect({ level: "error" });
    logger.info("no");
    logger.child({}).warn("no");
    logger.setLevel("debug");
    logger.child({}).debug("yes");
    expect(lines.length).toBe(1);
  });
  test("a line's field takes the place of the logger's", () => {
    const { lines, logger } = collect();
    logger.info("m", { service: "other" });
    expect(lines[0]).toContain("service=other");
    expect(lines[0]).not.toContain("service=registry");
  });
  test("shows what a terminal would act on, and hides nothing by turning text round", () => {
    const sly = "\u001b[31m \u009b31m \u007f \u0085 \u2028 \u202e \u2066 ü☃";
    const shown = "\\u001b[31m \\u009b31m \\u007f \\u0085 \\u2028 \\u202e \\u2066 ü☃";
    const accessLines: string[] = [];
    const sink = { write: (line: string) => void accessLines.push(line), flush: () => undefined };
    const entry = { clientAddress: "::1", method: "GET", uri: `/${sly}`, protocol: "HTTP/1.1", status: 404, bytes: 0, referer: sly, userAgent: sly, requestId: "", user: sly, repository: undefined, durationMs: 1, startedAt: 0 };
    for (const formatter of ["combined", "json"] as const) openAccessLog(formatter, sink).write(entry);
    for (const format of ["text", "json"] as const) {
      const { lines, logger } = collect({ format, fields: { constant: sly } });
      logger.warn(sly, { field: sly, object: { deep: [sly] } });
      accessLines.push(...lines);
    }
    expect(accessLines.length).toBe(4);
    for (const line of accessLines) expect(line).toMatch(/^[ -~ü☃]+\n$/);
    expect(accessLines.map((line) => line.replaceAll("\\\\", "\\").split(shown).length - 1)).toEqual([3, 4, 4, 4]);
  });
  test("cannot be made to write a second line", () => {
    const { lines, logger } = collect();
    logger.info("m", { agent: 'x"\ntime="fake"' });
    expect(lines[0]?.split("\n").length).toBe(2);
  });
  test("names its caller when asked", () => {
    const { lines, logger } = collect({ reportCaller: true });
    logger.info("m");
    expect(lines[0]).toMatch(/file="?[^ ]*logger\.test\.ts:\d+/);
  });
  test("tells listeners", () => {
    const { logger } = collect();
    const heard: string[] = [];
    logger.listen(new Set(["warn", "error"]), (line) => heard.push(`${line.level} ${line.message}`));
    logger.child({}).error("heard");
    expect(heard).toEqual(["error heard"]);
  });
});

describe("openAccessLog", () => {
  const entry = { clientAddress: "127.0.0.1", method: "GET", uri: "/v2/?_state=secret", protocol: "HTTP/1.1", status: 200, bytes: 2, referer: "", userAgent: 'curl"\n', requestId: "id", user: "u", repository: "a/b", durationMs: 1.23456, startedAt: Date.UTC(2026, 10, 20, 22, 19, 35) };
  test("writes the Combined Log Format", () => {
    const lines: string[] = [];
    openAccessLog("combined", { write: (line) => void lines.push(line), flush: () => undefined }).write(entry);
    expect(lines).toEqual(['127.0.0.1 - - [20/Nov/2026:22:19:35 +0000] "GET /v2/?_state=<hidden> HTTP/1.1" 200 2 "" "curl\\"\\n"\n']);
  });
  test("writes JSON", () => {
    const lines: string[] = [];
    openAccessLog("json", { write: (line) => void lines.push(line), flush: () => undefined }).write(entry);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({ status: 200, requestId: "id", user: "u", repository: "a/b", durationMs: 1.235, uri: "/v2/?_state=<hidden>" });
  });
});

test("redactUri takes out logins, states and signatures", () => {
  expect(redactUri("/v2/a?_state=abc&digest=sha256:x")).toBe("/v2/a?_state=<hidden>&digest=sha256:x");
  expect(redactUri("https://user:pass@host/x")).toBe("https://<hidden>@host/x");
  expect(redactUri("/v2/a/b")).toBe("/v2/a/b");
});
