import { describe, expect, test } from "bun:test";
import { UnsupportedError } from "../errors.ts";
import type { KeyPage, KeyPageRequest } from "./children.ts";
import { findDirectories } from "./directories.ts";
import { ObjectKeys } from "./keys.ts";

const KEYS = ["root/a/_ms/x", "root/a/_ms/y", "root/b", "root/c/_ls/x", "root/c/_ms/x", "root/has space/_ms/x", "root/tools/_ms/x"];
const FOUND = ["/a/_ms", "/c/_ls", "/c/_ms", "/tools"];

async function find(list: (request: KeyPageRequest) => Promise<KeyPage>, pageSize = 2): Promise<string[]> {
  return (await Array.fromAsync(findDirectories({ name: "odd", keys: new ObjectKeys("/root"), list }, "/", { nameEnd: "s", pageSize }))).flat();
}

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(() => "none", (error: unknown) => error);
}

const failing = (status: number): Promise<KeyPage> => Promise.reject(Object.assign(new Error("no such delimiter"), { status }));

describe("findDirectories", () => {
  test("takes beginnings out of names itself where a store takes no notice of the delimiter", async () => {
    const requests: KeyPageRequest[] = [];
    const found = await find(async (request) => {
      requests.push(request);
      const start = Number(request.next ?? 0);
      return { keys: KEYS.slice(start, start + request.limit), directories: [], next: start + request.limit < KEYS.length ? String(start + request.limit) : undefined };
    });
    expect(found).toEqual(FOUND);
    expect(requests.map(({ next }) => next)).toEqual([undefined, "2", "4", "6"]);
    expect(requests[0]).toEqual({ prefix: "root/", delimiter: "s/", limit: 2 });
  });

  test.each([400, 405, 412, 422, 501])("says that a store cannot do it which answers with status %d", async (status) => {
    expect(await failureOf(find(() => failing(status)))).toBeInstanceOf(UnsupportedError);
  });

  test.each([0, 403, 404, 429, 500, 503])("hands on a failure with status %d", async (status) => {
    expect(String(await failureOf(find(() => failing(status))))).toBe("Error: no such delimiter");
  });

  test("does not take what a store makes of one character of the delimiter", async () => {
    for (const directory of ["root/a/", "root/a/_ms", "root/a/_m"]) {
      expect(await failureOf(find(async () => ({ keys: [], directories: [directory], next: undefined })))).toBeInstanceOf(UnsupportedError);
    }
  });

  test("does not go in circles with a store that does", async () => {
    let requests = 0;
    for (const next of [() => "the same", () => `another ${requests}`]) {
      const failure = await failureOf(find(async () => ({ keys: [], directories: ["root/a/_ms/"], next: (requests++, next()) })));
      expect(failure).toBeInstanceOf(UnsupportedError);
      expect(String(failure)).toContain("does not come to an end");
    }
  });

  test("goes on behind a page that has nothing on it", async () => {
    const pages: readonly string[][] = [["root/a/_ms/"], [], [], ["root/b/_ms/"]];
    const list = async ({ next = "0" }: KeyPageRequest): Promise<KeyPage> => ({ keys: [], directories: pages[Number(next)] ?? [], next: next === "3" ? undefined : String(Number(next) + 1) });
    expect(await find(list)).toEqual(["/a/_ms", "/b/_ms"]);
  });
});
