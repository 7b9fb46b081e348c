import { describe, expect, test } from "bun:test";
import type { DirectoryEntry } from "./driver.ts";
import { type ChildrenPage, inNameOrder, type NameOrderOptions } from "./name-order.ts";

const directory = (name: string): DirectoryEntry => ({ name, isDirectory: true });
const file = (name: string): DirectoryEntry => ({ name, isDirectory: false });
const keyOf = ({ name, isDirectory }: DirectoryEntry): string => (isDirectory ? `${name}/` : name);
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** What a store gives: in order of keys, from a key on, in pages of a size. */
async function* fromStore(children: readonly DirectoryEntry[], { startAfter = "", size = 1, onRead = () => undefined }: { readonly startAfter?: string; readonly size?: number; readonly onRead?: () => void } = {}): AsyncGenerator<ChildrenPage> {
  const sorted = children.filter((child) => keyOf(child) > startAfter).sort((a, b) => compare(keyOf(a), keyOf(b)));
  for (let start = 0; start === 0 || start < sorted.length; start += size) {
    onRead();
    yield { children: sorted.slice(start, start + size), isLast: start + size >= sorted.length };
  }
}

async function ordered(children: readonly DirectoryEntry[], { size = 1, ...options }: NameOrderOptions & { readonly size?: number } = {}): Promise<string[]> {
  const { startAfter = "" } = options;
  return (await Array.fromAsync(inNameOrder(fromStore(children, { startAfter, size }), options))).flat().map(keyOf);
}

describe("inNameOrder", () => {
  test("puts a directory before the longer names whose keys come first", async () => {
    expect(await ordered([directory("v1"), directory("v1-rc"), file("v1.0"), directory("v10")])).toEqual(["v1/", "v1-rc/", "v1.0", "v10/"]);
    expect(await ordered([directory("a"), directory("a-b"), directory("a-b-c"), directory("a-b.d"), directory("a.b")])).toEqual(["a/", "a-b/", "a-b-c/", "a-b.d/", "a.b/"]);
  });

  test("gives nothing for nothing", async () => {
    expect(await ordered([])).toEqual([]);
  });

  test("gives a name that is a file and a directory once", async () => {
    expect(await ordered([file("v1"), directory("v1"), directory("v1-rc")])).toEqual(["v1", "v1-rc/"]);
  });

  test("reads no further than it must", async () => {
    let reads = 0;
    const children = [directory("a"), directory("a-1"), ...Array.from({ length: 100 }, (_, index) => directory(`b${index}`))];
    for await (const [child] of inNameOrder(fromStore(children, { onRead: () => reads++ }))) if (child?.name === "a") break;
    expect(reads).toBe(2);
  });

  test("does not wait for directories up to startAfter", async () => {
    let reads = 0;
    const children = [directory("v1"), ...Array.from({ length: 9 }, (_, index) => directory(`v1.${index}`))];
    for await (const [child] of inNameOrder(fromStore(children, { startAfter: "v1.3", onRead: () => reads++ }), { startAfter: "v1.3" })) {
      expect(child?.name).toBe("v1.4");
      break;
    }
    // `v1.3/` itself, whose key is greater than its name, and the one asked for.
    expect(reads).toBe(2);
  });

  test("asks the store when too many names wait", async () => {
    const names = Array.from({ length: 500 }, (_, index) => `v1.${String(index).padStart(3, "0")}`);
    for (const exists of [true, false]) {
      const children = [...names.map(directory), ...(exists ? [directory("v1")] : [])];
      const asked: string[] = [];
      let reads = 0;
      const found: string[] = [];
      const store = fromStore(children, { onRead: () => reads++ });
      for await (const ready of inNameOrder(store, { maxWaiting: 20, hasDirectory: async (name) => (asked.push(name), exists) })) {
        if (found.length === 0) expect(reads).toBe(21);
        found.push(...ready.map(({ name }) => name));
      }
      expect(found).toEqual(exists ? ["v1", ...names] : names);
      expect(asked).toEqual(["v1"]);
    }
  });

  test("sorts random names, from every place, with and without asking", async () => {
    const random = randomNumbers(7);
    const alphabet = ["a", "b", "-", ".", "_", "0", "Z"];
    for (let round = 0; round < 300; round++) {
      const byName = new Map<string, DirectoryEntry>();
      for (let count = random(40); count > 0; count--) {
        const name = Array.from({ length: 1 + random(5) }, () => alphabet[random(alphabet.length)]).join("");
        byName.set(name, random(3) === 0 ? file(name) : directory(name));
      }
      const children = [...byName.values()];
      const sorted = children.toSorted((a, b) => compare(a.name, b.name));
      const hasDirectory = async (name: string): Promise<boolean> => byName.get(name)?.isDirectory === true;
      for (const startAfter of ["", "a", "a-", "b.a", ...byName.keys()]) {
        const expected = sorted.filter(({ name }) => name > startAfter).map(keyOf);
        expect(await ordered(children, { startAfter })).toEqual(expected);
        expect(await ordered(children, { startAfter, size: 1 + random(10) })).toEqual(expected);
        expect(await ordered(children, { startAfter, hasDirectory, maxWaiting: random(5), size: 1 + random(10) })).toEqual(expected);
      }
    }
  });
});

/** The same numbers on every run. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
