import { z } from "zod";
import { duration, flag, headers, integer, text } from "../lib/fields.ts";

const interval = () => duration({ min: 1 }).prefault("10s").describe("Time between checks.");
const threshold = () => integer({ min: 0 }).prefault(0).describe("Failures in a row that make it unhealthy; 0 and 1 are the same.");
const timeout = () => duration({ min: 0 }).prefault("0s").describe("How long a check may take; 0: as long as its interval.");

/** `health` */
export const HEALTH_OPTIONS = z.object({
  storagedriver: z.object({ enabled: flag().prefault(false).describe("Look whether the store answers."), interval: interval(), threshold: threshold() }).prefault({}),
  file: z.array(z.object({ file: text().describe("Unhealthy while this file exists."), interval: interval(), threshold: threshold().meta({ inert: "a file counts at once, as with distribution" }) })).prefault([]).meta({ envNames: ["FILECHECKERS"] }).describe("Files that stand for trouble."),
  http: z
    .array(z.object({ uri: text().describe("Asked with HEAD."), headers: headers().prefault({}).describe("Sent with it."), statuscode: integer({ min: 100, max: 599 }).prefault(200).describe("The status that it must answer."), timeout: timeout(), interval: interval(), threshold: threshold() }))
    .prefault([])
    .meta({ envNames: ["HTTPCHECKERS"] })
    .describe("Services that must answer."),
  tcp: z.array(z.object({ addr: text().describe("host:port that must accept a connection."), timeout: timeout(), interval: interval(), threshold: threshold() })).prefault([]).meta({ envNames: ["TCPCHECKERS"] }).describe("Ports that must be open."),
});

/** `health`, parsed. */
export type HealthOptions = z.output<typeof HEALTH_OPTIONS>;
