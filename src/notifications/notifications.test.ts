import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SYSTEM_CLOCK } from "../lib/clock.ts";
import { digestOf } from "../oci/digest.ts";
import { type LogFields, type Logger, SILENT_LOGGER } from "../telemetry/log.ts";
import type { EventOrigin, RegistryEvent } from "./event.ts";
import { type NotificationParts, type Notifications, openNotifications } from "./notifications.ts";
import { NOTIFICATION_OPTIONS, type NotificationOptions } from "./options.ts";
import { type Listener, startListener } from "./testing/listener.ts";

const ORIGIN: EventOrigin = { requestId: "r", address: "10.0.0.1:1", host: "h", method: "GET", userAgent: "ua", user: undefined };

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "notifications-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function pull(number: number, more: Partial<RegistryEvent> = {}): RegistryEvent {
  return { action: "pull", repository: `repo/${number}`, digest: `sha256:${"1".repeat(64)}`, mediaType: "application/octet-stream", sizeBytes: number, ...more };
}

function options(endpoints: readonly Record<string, unknown>[], more: Record<string, unknown> = {}): NotificationOptions {
  return NOTIFICATION_OPTIONS.parse({ directory: folder, endpoints, ...more });
}

function open(chosen: NotificationOptions, parts: Partial<NotificationParts> = {}): Notifications {
  return openNotifications(chosen, { log: SILENT_LOGGER, clock: SYSTEM_CLOCK, sourceAddress: "host:5000", instanceId: "i", ...parts });
}

function repositories(listener: Listener): string[] {
  return listener.heard.map(({ body }) => (JSON.parse(body) as { events: { target: { repository: string } }[] }).events[0]?.target.repository ?? "");
}

describe("Notifications", () => {
  test("tells every endpoint what it wants to hear, in order", async () => {
    await using first = startListener();
    await using second = startListener();
    await using notifications = open(
      options([
        { name: "first", url: first.url },
        { name: "second", url: second.url, ignoredmediatypes: ["application/x-old"], ignore: { mediatypes: ["application/x-new"], actions: ["push"] } },
      ]),
    );
    notifications.emit(pull(0), ORIGIN);
    notifications.emit(pull(1, { action: "push" }), ORIGIN);
    notifications.emit(pull(2, { mediaType: "application/x-old" }), ORIGIN);
    notifications.emit(pull(3, { mediaType: "application/x-new" }), ORIGIN);
    notifications.emit({ action: "delete", repository: "repo/4", tag: "t" }, ORIGIN);
    expect(await notifications.flush(5000)).toBe(0);
    expect(repositories(first)).toEqual(["repo/0", "repo/1", "repo/2", "repo/3", "repo/4"]);
    expect(repositories(second)).toEqual(["repo/0", "repo/4"]);
    expect(first.ids()[0]).toBe(second.ids()[0] ?? "");
  });

  test("sends references only where they are asked for, and CloudEvents where they are", async () => {
    await using listener = startListener();
    const references = [{ mediaType: "m", digest: digestOf("x"), sizeBytes: 1 }];
    for (const includereferences of [false, true]) {
      await using notifications = open(options([{ name: "a", url: listener.url, format: "cloudevents" }], { events: { includereferences } }));
      notifications.emit(pull(0, { references }), ORIGIN);
      await notifications.flush(5000);
    }
    const targets = listener.heard.map(({ body }) => (JSON.parse(body) as { data: { target: object } }).data.target);
    expect(targets[0]).not.toHaveProperty("references");
    expect(targets[1]).toHaveProperty("references");
  });

  test("retries the oldest until it is accepted: at once up to the threshold, then after the back-off", async () => {
    const times: number[] = [];
    await using listener = startListener((_, count) => {
      times.push(performance.now());
      return new Response(null, { status: count <= 4 ? 500 : 200 });
    });
    await using notifications = open(options([{ name: "a", url: listener.url, threshold: 3, backoff: "150ms" }]));
    for (let i = 0; i < 5; i++) notifications.emit(pull(i), ORIGIN);
    expect(await notifications.flush(5000)).toBe(0);
    expect(repositories(listener)).toEqual([...Array(5).fill("repo/0"), "repo/1", "repo/2", "repo/3", "repo/4"]);
    expect((times[2] ?? 0) - (times[0] ?? 0)).toBeLessThan(140);
    expect((times[3] ?? 0) - (times[2] ?? 0)).toBeGreaterThan(130);
    expect(notifications.vars()?.[0]?.Metrics).toEqual({
      Pending: 0,
      Events: 5,
      Successes: 5,
      Failures: 4,
      Errors: 0,
      Dropped: 0,
      Statuses: { "500 Internal Server Error": 4, "200 OK": 5 },
    });
  });

  test("does not let a slow endpoint hold up another one or who emits", async () => {
    await using slow = startListener(async () => {
      await Bun.sleep(300);
      return new Response("ok");
    });
    await using quick = startListener();
    await using notifications = open(options([{ name: "slow", url: slow.url }, { name: "quick", url: quick.url }]));
    const started = performance.now();
    for (let i = 0; i < 20; i++) notifications.emit(pull(i), ORIGIN);
    expect(performance.now() - started).toBeLessThan(50);
    await quick.waitFor(20);
    expect(slow.heard.length).toBeLessThan(3);
  });

  test("gives up the oldest events of a full queue, counts them and says so once", async () => {
    const lines: [string, LogFields | undefined][] = [];
    const log: Logger = { ...SILENT_LOGGER, error: (message, fields) => lines.push([message, fields]) };
    const dropped: [string, number][] = [];
    const metrics = { count() {}, pending() {}, status() {}, dropped: (endpoint: string, events: number) => dropped.push([endpoint, events]) };
    const gate = Promise.withResolvers<void>();
    await using listener = startListener(async () => {
      await gate.promise;
      return new Response("ok");
    });
    await using notifications = open(options([{ name: "a", url: listener.url, queuesize: 3 }]), { log, metrics });
    notifications.emit(pull(0), ORIGIN);
    await Bun.sleep(50);
    for (let i = 1; i < 8; i++) notifications.emit(pull(i), ORIGIN);
    gate.resolve();
    expect(await notifications.flush(5000)).toBe(0);
    expect(repositories(listener)).toEqual(["repo/0", "repo/6", "repo/7"]);
    expect(dropped.length).toBe(5);
    expect(notifications.vars()?.[0]?.Metrics.Dropped).toBe(5);
    expect(lines).toEqual([["the queue of a notification endpoint is full: events are lost", { endpoint: "a", lost: 1 }]]);
  });

  test("flush gives up at its deadline and tells how many wait; close then says that they are lost", async () => {
    const lines: [string, LogFields | undefined][] = [];
    const log: Logger = { ...SILENT_LOGGER, error: (message, fields) => lines.push([message, fields]) };
    const notifications = open(options([{ name: "a", url: "http://127.0.0.1:1/" }]), { log });
    for (let i = 0; i < 3; i++) notifications.emit(pull(i), ORIGIN);
    expect(await notifications.flush(100)).toBe(3);
    await notifications.close();
    expect(lines).toEqual([["events are lost with the process", { endpoint: "a", lost: 3 }]]);
  });

  test("keeps events on disk over a restart without the listener, and delivers them in order", async () => {
    const chosen = (url: string): NotificationOptions => options([{ name: "kept", url, persist: true }]);
    for (let start = 0; start < 60; start += 20) {
      await using notifications = open(chosen("http://127.0.0.1:1/"));
      for (let i = start; i < start + 20; i++) notifications.emit(pull(i), ORIGIN);
      await notifications.flush(200);
    }
    await using listener = startListener();
    await using notifications = open(chosen(listener.url));
    expect(notifications.vars()?.[0]?.Metrics.Pending).toBe(60);
    expect(await notifications.flush(5000)).toBe(0);
    expect(repositories(listener)).toEqual(Array.from({ length: 60 }, (_, i) => `repo/${i}`));
  });

  test("does not wait at the end for a listener that is away when events are kept on disk", async () => {
    await using notifications = open(options([{ name: "kept", url: "http://127.0.0.1:1/", persist: true }]));
    notifications.emit(pull(0), ORIGIN);
    const started = performance.now();
    expect(await notifications.flush(5000)).toBe(1);
    expect(performance.now() - started).toBeLessThan(1000);
  });

  test("refuses two endpoints of one name with queues on disk", () => {
    const twice = options([1, 2].map(() => ({ name: "a", url: "http://127.0.0.1:1/", persist: true })));
    expect(() => open(twice)).toThrow('two endpoints with persist are named "a"');
  });

  test("shows endpoints in distribution's form, without credentials", async () => {
    await using none = open(options([{ name: "off", url: "http://x/", disabled: true }]));
    expect(none.vars()).toBeNull();
    await using notifications = open(options([{ name: "a", url: "http://ann:pw@127.0.0.1:1/x?token=hush&a=b", headers: { Authorization: ["Bearer t"] }, timeout: "2s", ignore: { actions: ["pull"] } }]));
    expect(notifications.vars()).toEqual([
      {
        name: "a",
        url: "http://<hidden>@127.0.0.1:1/x?token=<hidden>&a=b",
        Headers: { Authorization: ["<redacted>"] },
        Timeout: 2e9,
        Threshold: 10,
        Backoff: 1e9,
        IgnoredMediaTypes: null,
        Ignore: { MediaTypes: null, Actions: ["pull"] },
        Metrics: { Pending: 0, Events: 0, Successes: 0, Failures: 0, Errors: 0, Dropped: 0, Statuses: {} },
      },
    ]);
  });
});
