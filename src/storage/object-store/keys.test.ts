import { describe, expect, test } from "bun:test";
import { openInMemoryDriver } from "../inmemory/driver.ts";
import { hasObjectKeys, ObjectKeys } from "./keys.ts";

describe("ObjectKeys", () => {
  test.each([
    ["", "docker/registry/v2/x", "docker/registry/v2/"],
    ["/", "docker/registry/v2/x", "docker/registry/v2/"],
    ["/some/where", "some/where/docker/registry/v2/x", "some/where/docker/registry/v2/"],
    ["some/where//", "some/where/docker/registry/v2/x", "some/where/docker/registry/v2/"],
  ])("below the root %p names objects as distribution does", (root, key, prefix) => {
    const keys = new ObjectKeys(root);
    expect(keys.key("/docker/registry/v2/x")).toBe(key);
    expect(keys.prefix("/docker/registry/v2")).toBe(prefix);
    expect(keys.path(key)).toBe("/docker/registry/v2/x");
  });

  test("gives the prefix of everything for the root", () => {
    expect([new ObjectKeys("").prefix("/"), new ObjectKeys("/").prefix("/"), new ObjectKeys("/a/").prefix("/")]).toEqual(["", "", "a/"]);
  });

  test.each(["other/file", "rootfile", "root/", "root/folder/", "root/file~tail", "root//x", "root/../x"])("knows no path for the object %p", (key) => {
    expect(new ObjectKeys("/root").path(key)).toBeUndefined();
  });
});

test("hasObjectKeys tells drivers of buckets from others", () => {
  expect(hasObjectKeys(openInMemoryDriver())).toBe(false);
  expect(hasObjectKeys(Object.assign(openInMemoryDriver(), { objectKey: (path: string) => path }))).toBe(true);
});
