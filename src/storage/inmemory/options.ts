import { z } from "zod";

/** `storage.inmemory`: nothing to set; everything is gone at the end. */
export const INMEMORY_OPTIONS = z.object({});
