import { describe, expect, test } from "bun:test";
import { settled, TestClock } from "../registry/testing/test-clock.ts";
import { FailureThrottle, type LoginAttempt, type ThrottleOptions } from "./throttle.ts";

const make = (options: Partial<ThrottleOptions> = {}): { readonly throttle: FailureThrottle; readonly clock: TestClock } => {
  const clock = new TestClock();
  return { clock, throttle: new FailureThrottle({ enabled: true, failures: 3, maxdelay: 30_000, ...options }, clock) };
};
const attempt = (address: string, user = "alice"): LoginAttempt => ({ address, user });
function fail(throttle: FailureThrottle, count: number, ...attempts: readonly LoginAttempt[]): void {
  for (let index = 0; index < count; index++) for (const each of attempts) throttle.failed(each);
}

describe("FailureThrottle for an address", () => {
  test("lets the free failures pass, then doubles the wait up to the longest", async () => {
    const { throttle, clock } = make();
    const waits: number[] = [];
    for (let index = 0; index < 10; index++) {
      throttle.failed(attempt("192.0.2.1", `user ${index}`));
      const seconds = await throttle.admit(attempt("192.0.2.1", "another"));
      waits.push(seconds);
      await clock.advance(seconds * 1000);
    }
    expect(waits).toEqual([0, 0, 0, 1, 2, 4, 8, 16, 30, 30]);
  });

  test("does not make other addresses wait", async () => {
    const { throttle } = make();
    fail(throttle, 10, attempt("192.0.2.1", "bob"));
    expect(await throttle.admit(attempt("192.0.2.1"))).toBeGreaterThan(0);
    expect(await throttle.admit(attempt("192.0.2.2"))).toBe(0);
  });

  test("forgets a quarter of an hour after the last failure", async () => {
    const { throttle, clock } = make();
    fail(throttle, 10, attempt("192.0.2.1", "bob"));
    await clock.advance(15 * 60_000 + 1);
    throttle.failed(attempt("192.0.2.1", "bob"));
    expect(await throttle.admit(attempt("192.0.2.1"))).toBe(0);
  });

  test("takes a network of IPv6 for one, and an IPv4 address in IPv6 for itself", async () => {
    const { throttle } = make();
    fail(throttle, 2, attempt("2001:db8::1", "a"), attempt("2001:0db8:0:0:ffff::2", "b"));
    expect(await throttle.admit(attempt("2001:db8:0:0:1:2:3:4"))).toBeGreaterThan(0);
    expect(await throttle.admit(attempt("2001:db8:0:1::1"))).toBe(0);
    fail(throttle, 4, attempt("::ffff:192.0.2.9", "a"));
    expect(await throttle.admit(attempt("192.0.2.9"))).toBeGreaterThan(0);
    expect(await throttle.admit(attempt("::ffff:192.0.2.8"))).toBe(0);
  });

  test("is not reset by one good login among bad ones", async () => {
    const { throttle } = make();
    fail(throttle, 4, attempt("192.0.2.1", "victim"));
    throttle.succeeded(attempt("192.0.2.1", "attacker"));
    expect(await throttle.admit(attempt("192.0.2.1", "victim"))).toBeGreaterThan(0);
  });
});

describe("FailureThrottle for a user", () => {
  const everywhere = Array.from({ length: 50 }, (_, index) => attempt(`198.51.100.${index}`));

  test("holds a login from a new address for two seconds at most, and does not refuse it", async () => {
    const { throttle, clock } = make();
    fail(throttle, 1, ...everywhere);
    let admitted: number | undefined;
    void throttle.admit(attempt("192.0.2.1")).then((seconds) => void (admitted = seconds));
    await settled();
    expect(admitted).toBeUndefined();
    await clock.advance(2_000);
    expect(admitted).toBe(0);
  });

  test("does not hold a login from an address that the user logged in from before", async () => {
    const { throttle } = make();
    throttle.succeeded(attempt("192.0.2.1"));
    fail(throttle, 1, ...everywhere);
    fail(throttle, 10, attempt("192.0.2.1", "neighbour"));
    expect(await throttle.admit(attempt("192.0.2.1"))).toBe(0);
  });

  test("still slows down guessing from such an address", async () => {
    const { throttle } = make();
    throttle.succeeded(attempt("192.0.2.1"));
    fail(throttle, 4, attempt("192.0.2.1"));
    expect(await throttle.admit(attempt("192.0.2.1"))).toBe(1);
    expect(await throttle.admit(attempt("192.0.2.1", "bob"))).toBe(0);
  });

  test("holds no more than a bounded number", async () => {
    const { throttle, clock } = make();
    fail(throttle, 1, ...everywhere);
    const held = Array.from({ length: 256 }, async (_, index) => await throttle.admit(attempt(`203.0.113.${index}`)));
    expect(await throttle.admit(attempt("192.0.2.1"))).toBe(1);
    await clock.advance(2_000);
    expect(new Set(await Promise.all(held))).toEqual(new Set([0]));
  });

  test("lets go of who has gone", async () => {
    const { throttle, clock } = make();
    fail(throttle, 1, ...everywhere);
    const gone = new AbortController();
    const held = throttle.admit({ ...attempt("192.0.2.1"), signal: gone.signal });
    gone.abort();
    expect(await held).toBe(0);
    expect(clock.sleeping).toBe(0);
  });
});

test("FailureThrottle that is turned off, or waits for nothing, slows nobody down", async () => {
  for (const { throttle } of [make({ enabled: false }), make({ maxdelay: 0 })]) {
    fail(throttle, 100, attempt("192.0.2.1"));
    expect(await throttle.admit(attempt("192.0.2.1"))).toBe(0);
    expect(await throttle.admit(attempt("192.0.2.2"))).toBe(0);
  }
});
