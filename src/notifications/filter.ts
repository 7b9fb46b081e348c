import type { RegistryEvent } from "./event.ts";

/** What an endpoint does not want to hear of; an event that any list names is not sent. */
export interface EventFilter {
  readonly mediaTypes: readonly string[];
  readonly actions: readonly string[];
}

/** Whether an endpoint is to be spared an event. Deletions have no media type, so only a list of actions keeps them away. */
export function isIgnored(event: RegistryEvent, filter: EventFilter): boolean {
  return filter.actions.includes(event.action) || (event.mediaType !== undefined && filter.mediaTypes.includes(event.mediaType));
}
