import type { Descriptor } from "../oci/descriptor.ts";

/** Something that happened to a repository and that listeners may want to know. The envelope is made by the notifications feature. */
export interface RegistryEvent {
  readonly action: "push" | "pull" | "mount" | "delete";
  readonly repository: string;
  /** With `mount`. */
  readonly fromRepository?: string;
  /** Absent when a tag was deleted. */
  readonly digest?: string;
  readonly mediaType?: string;
  readonly sizeBytes?: number;
  readonly tag?: string;
  /** Absolute URL of the blob or manifest. */
  readonly url?: string;
  /** Config, layers and children of a pushed manifest. */
  readonly references?: readonly Descriptor[];
}

/** Who caused an event, by which request. */
export interface EventOrigin {
  readonly requestId: string;
  /** Client address, proxies seen through. */
  readonly address: string;
  readonly host: string;
  readonly method: string;
  readonly userAgent: string;
  readonly user: string | undefined;
}

/** Takes events; never throws and never waits. */
export interface EventSink {
  emit(event: RegistryEvent, origin: EventOrigin): void;
}
