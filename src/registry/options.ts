import { z } from "zod";
import { choice, duration, flag, integer, text, texts } from "../lib/fields.ts";

const GARBAGE_COLLECT = z.object({
  enabled: flag().prefault(false).describe("Collect garbage in this process, while serving."),
  interval: duration({ min: 1_000 }).prefault("24h").describe("Time between runs, unless cron is set."),
  cron: text().optional().describe("When to run, as a cron expression."),
  window: text().optional().refine((value) => value === undefined || /^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$/.test(value), "expected a time of day from-to, like 01:00-05:00").describe("Time of day (local) in which runs may begin, like 01:00-05:00."),
  grace: duration({ min: 0 }).prefault("10m").describe("How long pushes under way get, and how old must be what is deleted."),
  deleteuntagged: flag().prefault(false).describe("Also manifests that no tag needs."),
  dryrun: flag().prefault(false).describe("Only log what would be deleted."),
});

const RULE = z.object({
  repositories: texts().prefault(["**"]).describe("Globs of repositories."),
  tags: texts().prefault(["*"]).describe("Globs of tags."),
  keep: z
    .object({
      last: integer({ min: 0 }).optional().describe("So many, the last pushed first."),
      youngerthan: duration({ min: 0 }).optional().describe("Pushed within this time."),
      pulledwithin: duration({ min: 0 }).optional().describe("Pulled within this time; pull times are known to the hour."),
      always: texts().optional().describe("Globs of tags."),
    })
    .prefault({})
    .describe("What speaks for a tag; one is enough."),
  untaggedafter: duration({ min: 0 }).optional().describe("Manifests without a tag are collected when they are older."),
});

/** `storage.maintenance` */
export const MAINTENANCE_OPTIONS = z.object({
  uploadpurging: z
    .object({
      enabled: flag().prefault(true).describe("Delete uploads that were never finished."),
      age: duration({ min: 0 }).prefault("168h").describe("When they are older."),
      interval: duration({ min: 1_000 }).prefault("24h").describe("Time between runs."),
      dryrun: flag().prefault(false).describe("Only log what would be deleted."),
    })
    .prefault({}),
  readonly: z.object({ enabled: flag().prefault(false).describe("Refuse every write.") }).prefault({}),
  garbagecollect: GARBAGE_COLLECT.prefault({}),
  retention: z
    .object({
      enabled: flag().prefault(false).describe("Apply the rules before each scheduled collection."),
      dryrun: flag().prefault(false).describe("Only log what would be deleted."),
      rules: z.array(RULE).prefault([]).describe("The first rule that matches a tag decides it; what none matches is kept."),
    })
    .prefault({}),
});

/** `storage.maintenance`, parsed. */
export type MaintenanceOptions = z.output<typeof MAINTENANCE_OPTIONS>;

/** `storage.delete`, `.redirect`, `.cache` and `.tag`. */
export const STORAGE_COMMON_OPTIONS = {
  delete: z.object({ enabled: flag().prefault(false).describe("Allow deleting blobs, manifests and tags.") }).prefault({}),
  redirect: z
    .object({
      disable: flag().prefault(false).describe("Send blobs through this process instead of sending clients to the store."),
      expiry: duration({ min: 1_000, max: 7 * 24 * 3_600_000 }).prefault("20m").describe("How long the store's URLs are good for."),
    })
    .prefault({}),
  cache: z
    .object({
      blobdescriptor: text().optional().describe("Remember the sizes of blobs: inmemory or redis."),
      layerinfo: text().optional().describe("The same, under its name of distribution 2.0."),
      blobdescriptorsize: integer().prefault(10_000).describe("Most sizes remembered in memory; 0: no limit."),
    })
    .prefault({}),
  tag: z.object({ concurrencylimit: integer({ min: 0 }).prefault(0).describe("Tags looked up at once; 0: as many as there are cores.") }).prefault({}),
  maintenance: MAINTENANCE_OPTIONS.prefault({}),
};

/** `validation` */
export const VALIDATION_OPTIONS = z.object({
  enabled: flag().prefault(false).describe("Beats `disabled`."),
  disabled: flag().prefault(false).describe("Do not look whether what a manifest refers to is there."),
  manifests: z
    .object({
      urls: z
        .object({ allow: texts().prefault([]).describe("Regular expressions: URLs that layers may carry."), deny: texts().prefault([]).describe("Regular expressions: URLs that they may not carry.") })
        .prefault({}),
      indexes: z
        .object({
          platforms: choice(["all", "none", "list"], true).prefault("all").describe("Which children of an index must be there."),
          platformlist: z.array(z.object({ architecture: text().prefault("").describe("Like amd64."), os: text().prefault("").describe("Like linux.") })).prefault([]).describe("Those of these platforms, with `list`."),
        })
        .prefault({}),
      images: z.object({ sparse: flag().prefault(false).describe("Layers of an image may be missing.") }).prefault({}),
    })
    .prefault({}),
});

/** `validation`, parsed. */
export type ValidationOptions = z.output<typeof VALIDATION_OPTIONS>;

/** `policy` */
export const POLICY_OPTIONS = z.object({ repository: z.object({ classes: texts().prefault([]).describe("Classes of manifests that may be pushed: image, plugin. Empty: all.") }).prefault({}) });

/** `catalog` */
export const CATALOG_OPTIONS = z.object({ maxentries: integer().prefault(1000).transform((value) => (value <= 0 ? 1000 : value)).describe("Longest page of the catalog.") });

/** `tags` */
export const TAGS_OPTIONS = z.object({
  maxtags: integer().prefault(1000).refine((value) => value >= 0, "maxtags limit must be a non-negative integer value").transform((value) => (value === 0 ? 1000 : value)).describe("Longest page of a list of tags."),
});

/** `compatibility`: of distribution 2.x. */
export const COMPATIBILITY_OPTIONS = z
  .object({ schema1: z.object({ enabled: flag().optional(), signingkeyfile: text().optional().meta({ envNames: ["TRUSTKEY"] }) }).optional() })
  .meta({ inert: "manifests of schema 1 are not served; distribution 3.0 dropped them too" });
