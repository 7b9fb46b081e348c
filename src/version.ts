import { version } from "../package.json";

/** Stamped by `scripts/build.ts`; not there when the program runs from source. */
declare const REGISTRY_BUILD_COMMIT: string | undefined;

/** The version in `package.json`; the bundler puts its text into the executable. */
export const VERSION: string = version;

/** The commit that an executable was built from; `unknown` when built outside a checkout, `source` when run from source. */
export const COMMIT: string = typeof REGISTRY_BUILD_COMMIT === "string" ? REGISTRY_BUILD_COMMIT : "source";
