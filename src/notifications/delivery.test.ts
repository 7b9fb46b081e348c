import { createHmac } from "node:crypto";
import { describe, expect, test } from "bun:test";
import { type DeliveryTarget, deliver, isAccepted, isSameParty } from "./delivery.ts";
import { startListener } from "./testing/listener.ts";

const EVENT = { body: '{"events":[]}', contentType: "application/x-event" };

function target(url: string, more: Partial<DeliveryTarget> = {}): DeliveryTarget {
  return { url, headers: {}, timeoutMs: 2000, secret: undefined, ...more };
}

const never = new AbortController().signal;

describe("deliver", () => {
  test("posts the body with its media type and the configured headers", async () => {
    await using listener = startListener();
    const answer = await deliver(target(`${listener.url}/hook`, { headers: { "X-A": ["1", "2"], Authorization: ["Bearer t"] } }), EVENT, never);
    expect(answer).toEqual({ status: 200, text: "200 OK" });
    const [heard] = listener.heard;
    expect(heard).toMatchObject({ method: "POST", path: "/hook", body: EVENT.body });
    expect(heard?.headers.get("content-type")).toBe(EVENT.contentType);
    expect(heard?.headers.get("x-a")).toBe("1, 2");
    expect(heard?.headers.get("authorization")).toBe("Bearer t");
    expect(heard?.headers.get("x-registry-signature-256")).toBeNull();
  });

  test("signs the body under the secret", async () => {
    await using listener = startListener();
    await deliver(target(listener.url, { secret: "s3cret" }), EVENT, never);
    const expected = createHmac("sha256", "s3cret").update(listener.heard[0]?.body ?? "").digest("hex");
    expect(listener.heard[0]?.headers.get("x-registry-signature-256")).toBe(`sha256=${expected}`);
  });

  test("sends a user and password of the URL as Basic credentials", async () => {
    await using listener = startListener();
    await deliver(target(listener.url.replace("http://", "http://ann:p%40ss@")), EVENT, never);
    expect(listener.heard[0]?.headers.get("authorization")).toBe(`Basic ${btoa("ann:p@ss")}`);
  });

  test.each([200, 202, 304, 399])("takes status %d for an arrival", async (status) => {
    await using listener = startListener(() => new Response(null, { status }));
    expect(isAccepted(await deliver(target(listener.url), EVENT, never))).toBe(true);
  });

  test.each([400, 404, 500, 503])("takes status %d for a refusal", async (status) => {
    await using listener = startListener(() => new Response("no", { status }));
    expect(isAccepted(await deliver(target(listener.url), EVENT, never))).toBe(false);
  });

  test.each([301, 302, 303])("goes on after a %d with a GET without a body", async (status) => {
    await using listener = startListener(({ path }) => (path === "/" ? new Response(null, { status, headers: { location: "/next" } }) : new Response("ok")));
    expect(await deliver(target(listener.url, { secret: "x" }), EVENT, never)).toMatchObject({ status: 200 });
    expect(listener.heard[1]).toMatchObject({ method: "GET", path: "/next", body: "" });
    expect(listener.heard[1]?.headers.get("x-registry-signature-256")).toBeNull();
  });

  test.each([307, 308])("repeats the request after a %d", async (status) => {
    await using listener = startListener(({ path }) => (path === "/" ? new Response(null, { status, headers: { location: "/next" } }) : new Response("ok")));
    expect(await deliver(target(listener.url), EVENT, never)).toMatchObject({ status: 200 });
    expect(listener.heard[1]).toMatchObject({ method: "POST", path: "/next", body: EVENT.body });
  });

  test("keeps credentials, which any header may be, from another host", async () => {
    await using other = startListener();
    await using listener = startListener(() => new Response(null, { status: 307, headers: { location: other.url } }));
    await deliver(target(listener.url, { headers: { Authorization: ["Bearer t"], "X-Api-Key": ["1"] }, secret: "s" }), EVENT, never);
    const names = ["authorization", "x-api-key", "content-type", "x-registry-signature-256"];
    expect(names.map((name) => other.heard[0]?.headers.has(name))).toEqual([false, false, true, true]);
    await using same = startListener(({ path }) => (path === "/" ? new Response(null, { status: 307, headers: { location: "/next" } }) : new Response("ok")));
    await deliver(target(same.url, { headers: { "X-Api-Key": ["1"] } }), EVENT, never);
    expect(same.heard[1]?.headers.get("x-api-key")).toBe("1");
  });

  test("follows nobody into the files of this machine", async () => {
    await using listener = startListener(() => new Response(null, { status: 307, headers: { location: "file:///etc/hostname" } }));
    const error: unknown = await deliver(target(listener.url), EVENT, never).catch((thrown: unknown) => thrown);
    expect(String(error)).toContain("redirected to file:");
  });

  test("takes a redirect to nowhere for the answer", async () => {
    await using listener = startListener(() => new Response(null, { status: 302 }));
    expect(await deliver(target(listener.url), EVENT, never)).toEqual({ status: 302, text: "302 Found" });
  });

  test("gives up after ten redirects", async () => {
    await using listener = startListener(() => new Response(null, { status: 307, headers: { location: "/" } }));
    await expect(deliver(target(listener.url), EVENT, never)).rejects.toThrow("stopped after 10 redirects");
  });

  test("gives up when the answer takes longer than the timeout", async () => {
    await using listener = startListener(async () => {
      await Bun.sleep(1000);
      return new Response("late");
    });
    const started = performance.now();
    await expect(deliver(target(listener.url, { timeoutMs: 50 }), EVENT, never)).rejects.toThrow("no answer within 50 ms");
    expect(performance.now() - started).toBeLessThan(900);
  });

  test("rejects when nobody listens, and at once when it is told to stop", async () => {
    const listener = startListener();
    await listener[Symbol.asyncDispose]();
    await expect(deliver(target(listener.url), EVENT, never)).rejects.toThrow();
    await expect(deliver(target(listener.url), EVENT, AbortSignal.abort(new Error("stop")))).rejects.toThrow();
  });
});

test("isSameParty: a host on its port, and not from HTTPS down to HTTP", () => {
  const same = (from: string, to: string): boolean => isSameParty(new URL(from), new URL(to));
  expect([same("https://a", "https://a/b"), same("http://a", "http://a/b"), same("http://a", "https://a"), same("https://a:8443", "https://a:8443/x")]).toEqual([true, true, true, true]);
  expect([same("https://a", "http://a"), same("https://a", "https://b"), same("https://a", "https://a:444"), same("https://a.b", "https://b")]).toEqual([false, false, false, false]);
});
