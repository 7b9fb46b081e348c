import { type DescriptorJson, descriptorToJson } from "../oci/descriptor.ts";
import type { EventOrigin, RegistryEvent } from "./event.ts";

/** How events are written on the wire: as distribution writes them, or as CloudEvents 1.0. */
export type EventFormat = "distribution" | "cloudevents";

/** An event as listeners get it. The order of the fields is the order in which they are printed, distribution's. */
export interface EnvelopeEvent {
  readonly id: string;
  /** RFC 3339, UTC. */
  readonly timestamp: string;
  readonly action: RegistryEvent["action"];
  readonly target: EventTarget;
  readonly request: {
    readonly id: string;
    readonly addr?: string;
    readonly host?: string;
    readonly method: string;
    readonly useragent: string;
  };
  readonly actor: { readonly name?: string };
  readonly source: EventSource;
}

/** What the event is about; media type, digest and size are there even when they are unknown, as distribution 3 has it. */
export interface EventTarget {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly length?: number;
  readonly repository: string;
  readonly fromRepository?: string;
  readonly url?: string;
  readonly tag?: string;
  readonly references?: readonly DescriptorJson[];
}

/** Which registry speaks. */
export interface EventSource {
  /** Host name and port of the listener. */
  readonly addr: string;
  /** New for every start of the program. */
  readonly instanceID: string;
}

/** A request body with its media type. */
export interface RenderedEvent {
  readonly body: string;
  readonly contentType: string;
}

/** Completes an event to what listeners get. */
export function toEnvelopeEvent(
  event: RegistryEvent,
  origin: EventOrigin,
  stamp: { readonly id: string; readonly timestamp: string; readonly source: EventSource; readonly includeReferences: boolean },
): EnvelopeEvent {
  return {
    id: stamp.id,
    timestamp: stamp.timestamp,
    action: event.action,
    target: toTarget(event, stamp.includeReferences),
    request: {
      id: origin.requestId,
      ...(origin.address !== "" && { addr: origin.address }),
      ...(origin.host !== "" && { host: origin.host }),
      method: origin.method,
      useragent: origin.userAgent,
    },
    actor: origin.user === undefined || origin.user === "" ? {} : { name: origin.user },
    source: stamp.source,
  };
}

/** Writes an event in the form that an endpoint wants. */
export function renderEvent(event: EnvelopeEvent, format: EventFormat): RenderedEvent {
  return format === "cloudevents" ? renderCloudEvent(event) : renderEnvelope(event);
}

/**
 * The body that distribution sends: one event in a list, indented by three spaces.
 * @see distribution, "Notifications", "Envelope"
 */
function renderEnvelope(event: EnvelopeEvent): RenderedEvent {
  return {
    body: escapeLikeGo(JSON.stringify({ events: [event] }, null, 3)),
    contentType: "application/vnd.docker.distribution.events.v2+json",
  };
}

/** @see CloudEvents 1.0.2, "JSON Event Format", structured mode */
function renderCloudEvent(event: EnvelopeEvent): RenderedEvent {
  const { target } = event;
  const reference = target.tag !== undefined ? `:${target.tag}` : target.digest === "" ? "" : `@${target.digest}`;
  const json = {
    specversion: "1.0",
    id: event.id,
    source: `//${event.source.addr}`,
    type: `registry.${event.action}`,
    subject: `${target.repository}${reference}`,
    time: event.timestamp,
    datacontenttype: "application/json",
    data: event,
  };
  return { body: JSON.stringify(json), contentType: "application/cloudevents+json; charset=utf-8" };
}

function toTarget(event: RegistryEvent, includeReferences: boolean): EventTarget {
  const size = event.sizeBytes ?? 0;
  return {
    mediaType: event.mediaType ?? "",
    digest: event.digest ?? "",
    size,
    ...(size !== 0 && { length: size }),
    repository: event.repository,
    ...(event.fromRepository !== undefined && { fromRepository: event.fromRepository }),
    ...(event.url !== undefined && { url: event.url }),
    ...(event.tag !== undefined && { tag: event.tag }),
    ...(includeReferences && event.references !== undefined && event.references.length > 0 && { references: event.references.map(descriptorToJson) }),
  };
}

const GO_ESCAPES: Readonly<Record<string, string>> = { "<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029" };

// Go's encoder writes these characters as escapes; listeners that compare or sign bytes see no change.
function escapeLikeGo(json: string): string {
  return json.replace(/[<>&\u2028\u2029]/g, (character) => GO_ESCAPES[character] ?? character);
}
