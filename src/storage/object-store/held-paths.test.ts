import { expect, test } from "bun:test";
import { WriterBusyError } from "../errors.ts";
import { HeldPaths } from "./held-paths.ts";

test("HeldPaths gives a path to one at a time, until it is given back", () => {
  const held = new HeldPaths("s3");
  const first = held.take("/a");
  using _other = held.take("/b");
  expect(() => held.take("/a")).toThrow(WriterBusyError);
  first[Symbol.dispose]();
  using _second = held.take("/a");
  expect(() => held.take("/a")).toThrow(WriterBusyError);
});
