import { expect, test } from "bun:test";
import { DEBUG_METRICS, uploadArrives } from "../support/arrival.ts";
import { startRegistry, type RegistryProcess } from "../support/registry-process.ts";
import { expectStatus, startUpload } from "../support/http.ts";

/** A request whose body does not end before it is told to. */
async function holdUpload(registry: RegistryProcess): Promise<() => Promise<unknown>> {
  const location = await startUpload({ url: registry.url, name: "a" });
  const release = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      controller.enqueue(new Uint8Array(1000));
      await release.promise;
      controller.close();
    },
  });
  const answer = fetch(location, { method: "PATCH", body, headers: { "content-type": "application/octet-stream" } });
  await uploadArrives(registry);
  return async () => {
    release.resolve();
    return await answer;
  };
}

test("http.limits.requests: more at once are told to come again", async () => {
  await using registry = await startRegistry({ config: { http: { debug: DEBUG_METRICS, limits: { requests: 1 } } } });
  const release = await holdUpload(registry);
  const response = await expectStatus(503, `${registry.url}/v2/`);
  expect(response.headers.get("retry-after")).toBe("2");
  await expectStatus(200, `${registry.url}/livez`);
  await release();
  await expectStatus(200, `${registry.url}/v2/`);
});

test("http.limits.uploads: more bodies at once are told to come again", async () => {
  await using registry = await startRegistry({ config: { http: { debug: DEBUG_METRICS, limits: { uploads: 1 } } } });
  const other = await startUpload({ url: registry.url, name: "b" });
  const release = await holdUpload(registry);
  const response = await expectStatus(429, other, { method: "PATCH", body: "x", headers: { "content-type": "application/octet-stream" } });
  expect(response.headers.get("retry-after")).toBe("2");
  await release();
});
