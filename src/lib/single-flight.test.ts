import { describe, expect, test } from "bun:test";
import { SingleFlight } from "./single-flight.ts";

describe("SingleFlight", () => {
  test("joins calls that overlap, by key, and begins anew after", async () => {
    const flights = new SingleFlight<number>();
    let runs = 0;
    const work = async (): Promise<number> => ++runs;
    expect(await Promise.all([flights.run("a", work), flights.run("a", work), flights.run("b", work)])).toEqual([1, 1, 2]);
    expect(await flights.run("a", work)).toBe(3);
  });

  test("gives everybody the failure, and does not keep it", async () => {
    const flights = new SingleFlight<number>();
    const failing = async (): Promise<number> => {
      throw new Error("no");
    };
    const results = await Promise.allSettled([flights.run("a", failing), flights.run("a", failing)]);
    expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(await flights.run("a", async () => 1)).toBe(1);
  });
});
