import { isIP } from "node:net";
import type { MiddlewareDeps } from "./middlewares.ts";
import type { CloudFrontOptions } from "./options.ts";

const FETCH_TIMEOUT_MS = 30_000;
/** The published list has some 2 MiB. */
const MAX_LIST_BYTES = 32 * 1024 * 1024;
const BITS = { 4: 32, 6: 128 } as const;
/** Where IPv4 is in IPv6, before its 32 bits: `::ffff:0:0/96`. */
const MAPPED_PREFIX = 0xffffn;

type Family = keyof typeof BITS;

/** From the first to the last address, as numbers. */
type Range = readonly [first: bigint, last: bigint];

/**
 * The networks of Amazon, from the list that it publishes; fetched at once, and again from time to time. Until it is there, and when
 * it cannot be had, the last good one counts, which at first is empty.
 */
export class AddressRanges {
  readonly #options: Pick<CloudFrontOptions, "ipfilteredby" | "regions" | "iprangesurl" | "updateMs">;
  readonly #deps: MiddlewareDeps;
  readonly #closing = new AbortController();
  #ranges: Readonly<Record<Family, readonly Range[]>> = { 4: [], 6: [] };

  constructor(options: Pick<CloudFrontOptions, "ipfilteredby" | "regions" | "iprangesurl" | "updateMs">, deps: MiddlewareDeps) {
    this.#options = options;
    this.#deps = deps;
    void this.#keepUpToDate();
  }

  /** Whether an address is in one of the networks; what is no address is in none. */
  has(address: string): boolean {
    const parsed = parseAddress(address);
    if (parsed === undefined) return false;
    const ranges = this.#ranges[parsed.family];
    let [low, high] = [0, ranges.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((ranges[middle]?.[1] ?? 0n) < parsed.value) low = middle + 1;
      else high = middle;
    }
    const found = ranges[low];
    return found !== undefined && found[0] <= parsed.value;
  }

  close(): void {
    this.#closing.abort();
  }

  async #keepUpToDate(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        this.#ranges = this.#select(await fetchList(this.#options.iprangesurl, signal));
      } catch (error) {
        if (!signal.aborted) this.#deps.log.warn("the address ranges of the cloudfront middleware could not be updated", { url: this.#options.iprangesurl, "err.message": error instanceof Error ? error.message : String(error) });
      }
      await this.#deps.clock.sleep(this.#options.updateMs, signal);
    }
  }

  #select(list: readonly { readonly prefix: string; readonly region: string }[]): Readonly<Record<Family, readonly Range[]>> {
    const { ipfilteredby, regions } = this.#options;
    const found: Record<Family, Range[]> = { 4: [], 6: [] };
    for (const { prefix, region } of list) {
      if (ipfilteredby === "awsregion" && !regions.includes(region.toLowerCase())) continue;
      const range = parsePrefix(prefix);
      if (range !== undefined) found[range.family].push(range.range);
    }
    return { 4: merged(found[4]), 6: merged(found[6]) };
  }
}

async function fetchList(url: string, closing: AbortSignal): Promise<readonly { readonly prefix: string; readonly region: string }[]> {
  const response = await fetch(url, { signal: AbortSignal.any([closing, AbortSignal.timeout(FETCH_TIMEOUT_MS)]) });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of response.body ?? []) {
    sizeBytes += chunk.length;
    if (sizeBytes > MAX_LIST_BYTES) throw new Error(`the list has more than ${MAX_LIST_BYTES} bytes`);
    chunks.push(chunk);
  }
  const list: unknown = JSON.parse(Buffer.concat(chunks).toString());
  const found = [...entriesOf(list, "prefixes", "ip_prefix"), ...entriesOf(list, "ipv6_prefixes", "ipv6_prefix")];
  if (found.length === 0) throw new Error("the answer lists no address ranges");
  return found;
}

function entriesOf(list: unknown, member: string, key: string): { prefix: string; region: string }[] {
  const entries: unknown = typeof list === "object" && list !== null ? Reflect.get(list, member) : undefined;
  if (!Array.isArray(entries)) return [];
  return entries.flatMap((entry: unknown) => {
    if (typeof entry !== "object" || entry === null) return [];
    const [prefix, region]: unknown[] = [Reflect.get(entry, key), Reflect.get(entry, "region")];
    return typeof prefix === "string" ? [{ prefix, region: typeof region === "string" ? region : "" }] : [];
  });
}

function parsePrefix(prefix: string): { readonly family: Family; readonly range: Range } | undefined {
  const [address = "", length = ""] = prefix.split("/");
  const parsed = parseAddress(address);
  if (parsed === undefined || !/^\d{1,3}$/.test(length) || Number(length) > BITS[parsed.family]) return undefined;
  const hostBits = BigInt(BITS[parsed.family] - Number(length));
  const first = (parsed.value >> hostBits) << hostBits;
  return { family: parsed.family, range: [first, first + (1n << hostBits) - 1n] };
}

/** An address as a number; one of IPv4 within IPv6 as the one of IPv4 that it is. */
function parseAddress(text: string): { readonly family: Family; readonly value: bigint } | undefined {
  switch (isIP(text)) {
    case 4:
      return { family: 4, value: numberOf(text.split(".").map(Number), 8n) };
    case 6: {
      const value = parseSix(text);
      return value >> 32n === MAPPED_PREFIX ? { family: 4, value: value & 0xffff_ffffn } : { family: 6, value };
    }
    default:
      return undefined;
  }
}

function parseSix(text: string): bigint {
  const plain = text.replace(/%.*$/, "").replace(/[^:]*\.[^:]*$/, (four) => {
    const [a = 0, b = 0, c = 0, d = 0] = four.split(".").map(Number);
    return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  });
  const [head = "", tail] = plain.split("::");
  const groups = (part: string | undefined): number[] => (part === undefined || part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16)));
  const [before, after] = [groups(head), groups(tail)];
  return numberOf([...before, ...Array<number>(Math.max(0, 8 - before.length - after.length)).fill(0), ...after], 16n);
}

function numberOf(parts: readonly number[], bits: bigint): bigint {
  return parts.reduce((value, part) => (value << bits) | BigInt(part), 0n);
}

/** In order, and without overlaps. */
function merged(ranges: readonly Range[]): readonly Range[] {
  const result: [bigint, bigint][] = [];
  for (const [first, last] of [...ranges].sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0))) {
    const previous = result.at(-1);
    if (previous === undefined || first > previous[1]) result.push([first, last]);
    else if (last > previous[1]) previous[1] = last;
  }
  return result;
}
