import type { Logger } from "../../telemetry/log.ts";
import { ObjectKeys } from "../object-store/keys.ts";
import type { Container } from "./container.ts";
import type { AzureOptions } from "./options.ts";

/*
 * Distribution 2.x begins the names of its blobs with a slash, 3.x does not, and neither sees what the other wrote. Which of both is
 * meant can be told by the configuration: 2.x knows neither `credentials` nor `rootdirectory`, and 3.x does without no `credentials`.
 */

type LayoutOptions = Pick<AzureOptions, "credentials" | "rootdirectory" | "legacyrootprefix">;

/** Whether names begin with a slash. */
export function hasLeadingSlash({ credentials, rootdirectory, legacyrootprefix }: LayoutOptions): boolean {
  return legacyrootprefix ?? (credentials.type === undefined && rootdirectory === "");
}

/** How blobs are named. */
export function objectKeysOf(options: LayoutOptions): ObjectKeys {
  return new ObjectKeys(options.rootdirectory, { leadingSlash: hasLeadingSlash(options) });
}

/** Looks once whether there are blobs in the other layout, and says so: to whom it concerns, all images seem to be gone. */
export class LayoutCheck {
  readonly #container: Pick<Container, "hasBlobs">;
  readonly #options: LayoutOptions;
  readonly #log: Logger;
  #isDone = false;

  constructor(container: Pick<Container, "hasBlobs">, options: LayoutOptions, log: Logger) {
    this.#container = container;
    this.#options = options;
    this.#log = log;
  }

  /** To be told when something was looked for that is not there. Does not fail. */
  async missed(): Promise<void> {
    if (this.#isDone) return;
    this.#isDone = true;
    const leadingSlash = hasLeadingSlash(this.#options);
    const other = new ObjectKeys(this.#options.rootdirectory, { leadingSlash: !leadingSlash }).prefix("/docker/registry/v2");
    try {
      if (!(await this.#container.hasBlobs(other))) return;
      this.#log.warn("the container has blobs whose names are of the other kind, and which are not seen", { found: other, set: `storage.azure.legacyrootprefix: ${!leadingSlash}` });
    } catch {
      // What was looked for was not found; whether something else is there is no reason to fail.
    }
  }
}
