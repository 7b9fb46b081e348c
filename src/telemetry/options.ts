import { z } from "zod";
import { choice, flag, text, texts } from "../lib/fields.ts";
import { LOG_LEVELS } from "./log.ts";

/** The levels of logrus: nothing here is as bad as its first two. */
const HOOK_LEVELS = ["panic", "fatal", "error", "warn", "warning", "info", "debug", "trace"] as const;

const MAIL = z.object({
  smtp: z
    .object({
      addr: text().prefault("").describe("host:port of the mail server; smtps://host:port for TLS from the start, as on port 465. Else STARTTLS where the server offers it."),
      username: text().prefault("").describe("Login; none when empty. Only over TLS, but to this host or with insecure."),
      password: text().prefault("").meta({ secret: true }).describe("Its password."),
      insecure: flag().prefault(false).describe("Do not verify the mail server's certificate."),
    })
    .prefault({}),
  from: text().prefault("").describe("Sender; the first recipient when empty."),
  to: texts().prefault([]).describe("Recipients."),
});

const HOOK = z.object({
  type: text().describe("mail; others are left out."),
  disabled: flag().prefault(false).describe("Leave it out."),
  levels: z.array(choice(HOOK_LEVELS, true), "expected a list of levels").prefault([]).describe("Lines of these levels are mailed, when log.level lets them be written: error, warn, info, debug; panic and fatal never happen here."),
  options: MAIL.prefault({}).meta({ envNames: ["MAILOPTIONS"] }).describe("For mail."),
});

/** One of `log.hooks`, parsed. */
export type HookOptions = z.output<typeof HOOK>;

/** `log` */
export const LOG_OPTIONS = z.object({
  level: choice(LOG_LEVELS, true).optional().describe("error, warn, info or debug; default info."),
  formatter: text().prefault("text").refine((value) => ["text", "json", "logstash"].includes(value), "unsupported logging formatter, expected text, json or logstash").describe("text, json or logstash."),
  fields: z.record(z.string(), z.unknown()).prefault({}).describe("Fields added to every line."),
  reportcaller: flag().prefault(false).describe("Add the place in the program to every line."),
  accesslog: z
    .object({
      disabled: flag().prefault(false).describe("Write no access log."),
      formatter: choice(["combined", "json"]).prefault("combined").describe("Combined Log Format, or JSON lines with request id, user, repository and duration."),
    })
    .prefault({}),
  hooks: z.array(HOOK).prefault([]).describe("What else happens when a line of some level is written."),
});

/** `log`, parsed. */
export type LogOptions = z.output<typeof LOG_OPTIONS>;

const BUGSNAG = z.object({
  apikey: text().optional().meta({ secret: true }).describe("Key of the service."),
  releasestage: text().optional().describe("Name of the stage."),
  endpoint: text().optional().describe("URL of the service."),
});
const NEWRELIC = z.object({
  licensekey: text().optional().meta({ secret: true }).describe("Key of the service."),
  name: text().optional().describe("Name of the program."),
  verbose: flag().optional().describe("More of it."),
});

/** `reporting`: of distribution 2.x, without effect since 3.0. */
export const REPORTING_OPTIONS = z.object({ bugsnag: BUGSNAG.optional(), newrelic: NEWRELIC.optional() }).meta({ inert: "distribution 3.0 dropped it too; use tracing, metrics and the log" });
