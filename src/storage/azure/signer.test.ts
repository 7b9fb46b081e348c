import { describe, expect, test } from "bun:test";
import * as sdk from "@azure/storage-blob";
import type { Clock } from "../../lib/clock.ts";
import type { LogFields, Logger } from "../../telemetry/log.ts";
import { SILENT_LOGGER } from "../../telemetry/log.ts";
import { DelegatedSigner, type KeyService, SharedKeySigner } from "./signer.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const START = Date.parse("2026-01-01T00:00:00Z");
const BLOB = { url: "https://account.blob.example/container/some/name", name: "some/name" };
const OPTIONS = { sdk, account: "account", container: "container", expiryMs: 20 * MINUTE_MS };

class ManualClock implements Clock {
  ms = START;
  now(): number {
    return this.ms;
  }
  async sleep(ms: number): Promise<void> {
    this.ms += ms;
  }
}

/** Gives keys, or refuses to. */
class Service implements KeyService {
  readonly asked: (readonly [from: number, to: number])[] = [];
  isRefusing = false;

  async getUserDelegationKey(startsOn: Date, expiresOn: Date): Promise<sdk.UserDelegationKey> {
    this.asked.push([startsOn.getTime() - START, expiresOn.getTime() - START]);
    if (this.isRefusing) throw new Error("This request is not authorized.\nRequestId:1");
    return { signedObjectId: "object", signedTenantId: "tenant", signedStartsOn: startsOn, signedExpiresOn: expiresOn, signedService: "b", signedVersion: "2020-12-06", value: "a2V5" };
  }
}

function expiryOf(url: string | undefined): number {
  return Date.parse(new URL(url ?? "").searchParams.get("se") ?? "");
}

describe("SharedKeySigner", () => {
  const signer = new SharedKeySigner(new sdk.StorageSharedKeyCredential("account", "a2V5"), OPTIONS);

  test("lets read one blob for a while, by https alone where that is how it is asked", async () => {
    const before = Date.now();
    const url = new URL(await signer.readUrl(BLOB));
    expect(`${url.origin}${url.pathname}`).toBe(BLOB.url);
    expect(["sp", "sr", "spr", "sv"].map((name) => url.searchParams.get(name))).toEqual(["r", "b", "https", "2020-12-06"]);
    expect(Math.abs(expiryOf(url.href) - before - OPTIONS.expiryMs)).toBeLessThan(5000);
    const plain = new URL(await signer.readUrl({ ...BLOB, url: "http://127.0.0.1/account/container/some/name" }));
    expect(plain.searchParams.get("spr")).toBe("https,http");
  });

  test("needs no signature for what the store copies", async () => {
    expect(await signer.sourceUrl(BLOB)).toBe(BLOB.url);
  });
});

describe("DelegatedSigner", () => {
  test("asks for one key for all that is signed in a day, and for another before it ends", async () => {
    const [service, clock] = [new Service(), new ManualClock()];
    const signer = new DelegatedSigner(service, OPTIONS, SILENT_LOGGER, clock);
    const urls = await Promise.all([signer.readUrl(BLOB), signer.readUrl(BLOB), signer.sourceUrl(BLOB)]);
    for (const url of urls) expect(expiryOf(url)).toBe(START + OPTIONS.expiryMs);
    clock.ms += 24 * HOUR_MS - OPTIONS.expiryMs - 1;
    await signer.readUrl(BLOB);
    expect(service.asked).toEqual([[-5 * MINUTE_MS, 24 * HOUR_MS]]);
    clock.ms += 1;
    expect(expiryOf(await signer.readUrl(BLOB))).toBe(clock.ms + OPTIONS.expiryMs);
    expect(service.asked).toHaveLength(2);
  });

  test("signs for no longer than keys are good, which is a week at most", async () => {
    const [service, clock] = [new Service(), new ManualClock()];
    const signer = new DelegatedSigner(service, { ...OPTIONS, expiryMs: 30 * 24 * HOUR_MS }, SILENT_LOGGER, clock);
    expect(expiryOf(await signer.readUrl(BLOB))).toBe(START + 3.5 * 24 * HOUR_MS);
    expect(service.asked).toEqual([[-5 * MINUTE_MS, 7 * 24 * HOUR_MS]]);
  });

  test("has no URLs where the store gives no key, says so, and asks again after a while", async () => {
    const [service, clock, warnings] = [new Service(), new ManualClock(), new Array<LogFields | undefined>()];
    const log: Logger = { ...SILENT_LOGGER, warn: (_, fields) => void warnings.push(fields) };
    service.isRefusing = true;
    const signer = new DelegatedSigner(service, OPTIONS, log, clock);
    expect([await signer.readUrl(BLOB), await signer.readUrl(BLOB), await signer.sourceUrl(BLOB)]).toEqual([undefined, undefined, BLOB.url]);
    expect(warnings).toEqual([{ "err.message": "This request is not authorized." }]);
    service.isRefusing = false;
    clock.ms += MINUTE_MS;
    expect(await signer.readUrl(BLOB)).toBeString();
    expect(service.asked).toHaveLength(2);
  });
});
