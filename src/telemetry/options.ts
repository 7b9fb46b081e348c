import { z } from "zod";
import { choice, flag, text, texts } from "../lib/fields.ts";
import { LOG_LEVELS } from "./log.ts";

const MAIL = z.object({
  smtp: z
    .object({
      addr: text().prefault("").describe("host:port of the mail server."),
      username: text().prefault("").describe("Login; none when empty."),
      password: text().prefault("").meta({ secret: true }).describe("Its password."),
      insecure: flag().prefault(false).describe("Do not verify the mail server's certificate."),
    })
    .prefault({}),
  from: text().prefault("").describe("Sender."),
  to: texts().prefault([]).describe("Recipients."),
});

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
  hooks: z
    .array(
      z.object({
        type: text().describe("mail"),
        disabled: flag().prefault(false).describe("Leave it out."),
        levels: texts().prefault([]).describe("panic, fatal, error, warn, info, debug"),
        options: MAIL.prefault({}).meta({ envNames: ["MAILOPTIONS"] }),
      }),
    )
    .prefault([])
    .meta({ inert: "mail is not sent; watch the log itself" })
    .describe("What else happens when a line of some level is written."),
});

/** `log`, parsed. */
export type LogOptions = z.output<typeof LOG_OPTIONS>;

const BUGSNAG = z.object({ apikey: text().optional().meta({ secret: true }), releasestage: text().optional(), endpoint: text().optional() });
const NEWRELIC = z.object({ licensekey: text().optional().meta({ secret: true }), name: text().optional(), verbose: flag().optional() });

/** `reporting`: of distribution 2.x, without effect since 3.0. */
export const REPORTING_OPTIONS = z.object({ bugsnag: BUGSNAG.optional(), newrelic: NEWRELIC.optional() }).meta({ inert: "distribution 3.0 dropped it too; use tracing, metrics and the log" });
