import { describe, expect, test } from "bun:test";
import { access, credentialsOf, refusal } from "../testing/parts.ts";
import { openSillyController } from "./controller.ts";

describe("openSillyController", () => {
  const controller = openSillyController({ realm: "https://r", service: "s" });

  test.each(["x", "Basic !!!", "Bearer "])("lets in whoever sends %p", async (header) => {
    expect(await controller.authorize(credentialsOf(header), [access("push")])).toEqual({ user: "silly" });
  });
  test.each([undefined, ""])("refuses %p with a scope for each record", async (header) => {
    const refused = await refusal(controller.authorize(credentialsOf(header), [access("pull", "foo"), access("push", "foo")]));
    expect(refused.outcome).toBe("unauthenticated");
    expect(refused.challenge).toBe('Bearer realm="https://r",service="s",scope="repository:foo:pull repository:foo:push"');
  });
  test("names no scope where none is needed", async () => {
    expect((await refusal(controller.authorize(credentialsOf(undefined), []))).challenge).toBe('Bearer realm="https://r",service="s"');
  });
});
