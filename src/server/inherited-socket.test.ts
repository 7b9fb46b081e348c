import { expect, test } from "bun:test";
import { inheritedSocket } from "./inherited-socket.ts";

test("inheritedSocket finds none that is not for this process", () => {
  for (const env of [{}, { LISTEN_FDS: "1" }, { LISTEN_PID: "1", LISTEN_FDS: "1" }, { LISTEN_PID: String(process.pid) }, { LISTEN_PID: String(process.pid), LISTEN_FDS: "0" }, { LISTEN_PID: String(process.pid), LISTEN_FDS: "x" }]) {
    expect(inheritedSocket(env)).toBeUndefined();
  }
});

test("inheritedSocket refuses what does not listen", () => {
  // Whatever the third descriptor is here.
  expect(() => inheritedSocket({ LISTEN_PID: String(process.pid), LISTEN_FDS: "1" })).toThrow("LISTEN_FDS: the first socket does not listen");
});
