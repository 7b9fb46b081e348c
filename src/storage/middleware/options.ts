import { z } from "zod";
import { duration, flag, text, url } from "../../lib/fields.ts";

const ENTRY = z.object({
  name: text().describe("Which one."),
  disabled: flag().prefault(false).describe("Leave it out."),
  options: z.record(z.string(), z.unknown()).prefault({}).describe("What it needs."),
});

const NONE = ENTRY.extend({ options: z.record(z.string(), z.unknown()).optional().meta({ inert: "there are no middlewares of this kind" }) });

/** `middleware`; there are none for registry and repository. */
export const MIDDLEWARE_OPTIONS = z.object({
  registry: z.array(NONE).prefault([]).describe("There are none: every name is refused, unless it is disabled."),
  repository: z.array(NONE).prefault([]).describe("There are none: every name is refused, unless it is disabled."),
  storage: z.array(ENTRY).prefault([]).describe("Change the URLs that clients are sent to, one after the other: cloudfront, redirect, rewrite."),
});

/** `middleware`, parsed. */
export type MiddlewareOptions = z.output<typeof MIDDLEWARE_OPTIONS>;

const DEFAULT_RANGES_URL = "https://ip-ranges.amazonaws.com/ip-ranges.json";

const REDIRECT = z.strictObject({ baseurl: url() });

const REWRITE = z.strictObject({ scheme: text().optional(), host: text().optional(), trimpathprefix: text().optional() });

const CLOUDFRONT = z
  .strictObject({
    baseurl: z.preprocess((value) => (typeof value === "string" && !value.includes("://") ? `https://${value}` : value), url()),
    privatekey: text(),
    keypairid: text(),
    // A number without a unit is no duration to Go's parser, and left the default in place.
    duration: z.union([z.number().transform(() => undefined), duration({ min: 1 })]).optional(),
    ipfilteredby: z.enum(["", "none", "aws", "awsregion"]).prefault("none"),
    awsregion: z.union([text(), z.array(text())]).optional(),
    updatefrequency: duration({ min: 1000 }).optional(),
    /** As 2.8 spells it. */
    updatefrenquency: duration({ min: 1000 }).optional(),
    iprangesurl: url().prefault(DEFAULT_RANGES_URL),
  })
  .refine((options) => options.ipfilteredby !== "awsregion" || options.awsregion !== undefined, { path: ["awsregion"], message: "needed with ipfilteredby: awsregion" })
  .transform(({ awsregion, updatefrequency, updatefrenquency, duration: validMs = 20 * 60_000, ...options }) => ({
    ...options,
    validMs,
    regions: (Array.isArray(awsregion) ? awsregion : (awsregion ?? "").split(",")).map((region) => region.trim().toLowerCase()).filter((region) => region !== ""),
    updateMs: updatefrequency ?? updatefrenquency ?? 12 * 60 * 60_000,
  }));

/** Options of `redirect`, `rewrite` and `cloudfront`, parsed. */
export type RedirectOptions = z.output<typeof REDIRECT>;
export type RewriteOptions = z.output<typeof REWRITE>;
export type CloudFrontOptions = z.output<typeof CLOUDFRONT>;

/** One middleware, ready to be opened. */
export type StorageMiddleware =
  | { readonly name: "redirect"; readonly options: RedirectOptions }
  | { readonly name: "rewrite"; readonly options: RewriteOptions }
  | { readonly name: "cloudfront"; readonly options: CloudFrontOptions };

/** What is wrong with an entry. */
export interface MiddlewareProblem {
  /** Below the entry, like `options.baseurl`. */
  readonly key: string;
  readonly message: string;
}

/** Reads an entry of `middleware.storage`. @returns The middleware, or what is wrong with it */
export function parseMiddleware({ name, options }: MiddlewareOptions["storage"][number]): StorageMiddleware | readonly MiddlewareProblem[] {
  switch (name) {
    case "redirect":
      return read(options, REDIRECT.safeParse(options), (parsed) => ({ name, options: parsed }));
    case "rewrite":
      return read(options, REWRITE.safeParse(options), (parsed) => ({ name, options: parsed }));
    case "cloudfront":
      return read(options, CLOUDFRONT.safeParse(options), (parsed) => ({ name, options: parsed }));
    default:
      return [{ key: "name", message: `no storage middleware registered with name: ${name}, expected one of cloudfront, redirect, rewrite` }];
  }
}

function read<T>(given: Readonly<Record<string, unknown>>, result: z.ZodSafeParseResult<T>, made: (options: T) => StorageMiddleware): StorageMiddleware | readonly MiddlewareProblem[] {
  if (result.success) return made(result.data);
  return result.error.issues.flatMap((issue): MiddlewareProblem[] => {
    if (issue.code === "unrecognized_keys") return issue.keys.map((key) => ({ key: `options.${key}`, message: "there is no such option" }));
    return [{ key: ["options", ...issue.path].join("."), message: given[String(issue.path[0])] === undefined && issue.code !== "custom" ? "missing" : issue.message }];
  });
}
