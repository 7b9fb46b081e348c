import type { EnvelopeEvent } from "../envelope.ts";

/** An event whose id is its number. */
export function numberedEvent(number: number, padding = ""): EnvelopeEvent {
  return {
    id: String(number),
    timestamp: "2026-01-02T03:04:05.678Z",
    action: "push",
    target: { mediaType: "application/octet-stream", digest: `sha256:${"0".repeat(64)}`, size: 1, length: 1, repository: `a/b${padding}` },
    request: { id: "r", method: "PUT", useragent: "" },
    actor: {},
    source: { addr: "h:1", instanceID: "i" },
  };
}
