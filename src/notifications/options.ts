import { z } from "zod";
import { byteSize, choice, duration, flag, headers, integer, secret, text, texts } from "../lib/fields.ts";

/** Distribution takes 1s for a duration that is not positive. */
const positive = (fallback: string) => duration().prefault(fallback).transform((ms) => (ms > 0 ? ms : 1_000));

const ENDPOINT = z.object({
  name: text().prefault("").describe("Shown in logs and metrics; names the queue on disk."),
  url: text().prefault("").describe("Where events are posted."),
  disabled: flag().prefault(false).describe("Leave this endpoint out."),
  headers: headers().prefault({}).meta({ secret: true }).describe("Headers added to every request."),
  timeout: positive("1s").describe("How long a request may take."),
  threshold: integer().prefault(10).transform((count) => (count > 0 ? count : 10)).describe("Failures in a row after which every attempt waits for the back-off."),
  backoff: positive("1s").describe("How long it waits then."),
  ignoredmediatypes: texts().prefault([]).describe("The older form of ignore.mediatypes; both count."),
  ignore: z
    .object({
      mediatypes: texts().prefault([]).describe("Events about these media types are not sent."),
      actions: texts().prefault([]).describe("Events of these actions (push, pull, mount, delete) are not sent."),
    })
    .prefault({}),
  format: choice(["distribution", "cloudevents"]).prefault("distribution").describe("What the body looks like: distribution's envelope, or CloudEvents 1.0 (structured JSON)."),
  secret: secret().optional().describe("Signs every body: the header X-Registry-Signature-256 is then sha256= and the hex HMAC-SHA256 of the body."),
  persist: flag().prefault(false).describe("Keep waiting events on disk, over restarts."),
  queuesize: integer({ min: 1 }).prefault(10_000).describe("Most events that wait in memory, in 64 MiB at most; beyond it the oldest are lost. Without persist."),
  maxsize: byteSize({ min: 1024 * 1024 }).prefault("1GiB").describe("Most bytes of events that wait on disk; beyond it the oldest are lost. With persist."),
});

/** One of `notifications.endpoints`, parsed. */
export type EndpointOptions = z.output<typeof ENDPOINT>;

/** `notifications`: who is told what happens. */
export const NOTIFICATION_OPTIONS = z.object({
  events: z
    .object({ includereferences: flag().prefault(false).describe("Events of pushed manifests list what the manifest refers to.") })
    .prefault({})
    .meta({ envNames: ["EVENTCONFIG"] }),
  directory: text().prefault("/var/lib/registry/notifications").describe("Folder of this host for the queues of endpoints with persist; one for each running registry."),
  endpoints: z.array(ENDPOINT).prefault([]).describe("Listeners."),
});

/** `notifications`, parsed. */
export type NotificationOptions = z.output<typeof NOTIFICATION_OPTIONS>;
