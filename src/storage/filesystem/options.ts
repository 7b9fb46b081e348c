import { z } from "zod";
import { integer, text } from "../../lib/fields.ts";

/** `storage.filesystem` */
export const FILESYSTEM_OPTIONS = z.object({
  rootdirectory: text().prefault("/var/lib/registry").describe("The folder of everything."),
  maxthreads: integer().prefault(100).transform((value) => Math.max(25, value)).describe("Most calls at once that wait for the disk; at least 25."),
});

/** `storage.filesystem`, parsed. */
export type FilesystemOptions = z.output<typeof FILESYSTEM_OPTIONS>;
