import { expect, test } from "bun:test";
import { parseDigest } from "../oci/digest.ts";
import { renderEvent, toEnvelopeEvent } from "./envelope.ts";
import type { EventOrigin, RegistryEvent } from "./event.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;
const ORIGIN: EventOrigin = { requestId: "r-1", address: "10.0.0.7:4711", host: "registry.test:5000", method: "PUT", userAgent: "docker/27 <x> & co", user: "ann" };
const STAMP = { id: "e-1", timestamp: "2026-01-02T03:04:05.678Z", source: { addr: "host.test:5000", instanceID: "i-1" }, includeReferences: true };
const PUSH: RegistryEvent = {
  action: "push",
  repository: "team/app",
  digest: DIGEST,
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  sizeBytes: 42,
  tag: "v1",
  url: "http://registry.test:5000/v2/team/app/manifests/v1",
  references: [{ mediaType: "application/vnd.oci.image.config.v1+json", digest: parseDigest(DIGEST), sizeBytes: 7 }],
};

test("renderEvent prints distribution's envelope byte for byte", () => {
  expect(renderEvent(toEnvelopeEvent(PUSH, ORIGIN, STAMP), "distribution")).toEqual({
    contentType: "application/vnd.docker.distribution.events.v2+json",
    body: `{
   "events": [
      {
         "id": "e-1",
         "timestamp": "2026-01-02T03:04:05.678Z",
         "action": "push",
         "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": "${DIGEST}",
            "size": 42,
            "length": 42,
            "repository": "team/app",
            "url": "http://registry.test:5000/v2/team/app/manifests/v1",
            "tag": "v1",
            "references": [
               {
                  "mediaType": "application/vnd.oci.image.config.v1+json",
                  "digest": "${DIGEST}",
                  "size": 7
               }
            ]
         },
         "request": {
            "id": "r-1",
            "addr": "10.0.0.7:4711",
            "host": "registry.test:5000",
            "method": "PUT",
            "useragent": "docker/27 \\u003cx\\u003e \\u0026 co"
         },
         "actor": {
            "name": "ann"
         },
         "source": {
            "addr": "host.test:5000",
            "instanceID": "i-1"
         }
      }
   ]
}`,
  });
});

test("renderEvent keeps media type, digest, size and agent when they are unknown, and leaves out the rest", () => {
  const event = toEnvelopeEvent({ action: "delete", repository: "a", tag: "t" }, { ...ORIGIN, address: "", host: "", userAgent: "", user: undefined }, STAMP);
  const { events } = JSON.parse(renderEvent(event, "distribution").body) as { events: Record<string, unknown>[] };
  expect(events[0]).toEqual({
    id: "e-1",
    timestamp: STAMP.timestamp,
    action: "delete",
    target: { mediaType: "", digest: "", size: 0, repository: "a", tag: "t" },
    request: { id: "r-1", method: "PUT", useragent: "" },
    actor: {},
    source: STAMP.source,
  });
});

test("toEnvelopeEvent leaves references out unless they are wanted", () => {
  expect(toEnvelopeEvent(PUSH, ORIGIN, { ...STAMP, includeReferences: false }).target).not.toHaveProperty("references");
});

test("toEnvelopeEvent tells where a mounted blob comes from", () => {
  const event = toEnvelopeEvent({ action: "mount", repository: "a", fromRepository: "b", digest: DIGEST, sizeBytes: 1 }, ORIGIN, STAMP);
  expect(event.target).toMatchObject({ repository: "a", fromRepository: "b" });
});

test.each([
  [PUSH, "team/app:v1"],
  [{ action: "pull", repository: "a/b", digest: DIGEST } as const, `a/b@${DIGEST}`],
  [{ action: "delete", repository: "a/b" } as const, "a/b"],
])("renderEvent writes CloudEvents 1.0 with a subject", (event, subject) => {
  const rendered = renderEvent(toEnvelopeEvent(event, ORIGIN, STAMP), "cloudevents");
  expect(rendered.contentType).toBe("application/cloudevents+json; charset=utf-8");
  expect(JSON.parse(rendered.body)).toMatchObject({
    specversion: "1.0",
    id: "e-1",
    source: "//host.test:5000",
    type: `registry.${event.action}`,
    subject,
    time: STAMP.timestamp,
    datacontenttype: "application/json",
    data: { action: event.action, target: { repository: event.repository }, request: { id: "r-1" } },
  });
});
