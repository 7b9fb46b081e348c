import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { makeCertificate, writeCertificate } from "../support/certificates.ts";
import { tryCommand } from "../support/command.ts";
import { pushImage } from "../support/http.ts";
import { type ConfigSection, defaultConfig, type Implementation, registryCommand, startRegistry } from "../support/registry-process.ts";
import { describeWith } from "../support/services.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { ACCEPTED, type Case, DIFFERENCES, type Place, REFUSED } from "./differential-cases.ts";
import { type Observation, observe } from "./observe.ts";

type Common = Omit<Place, "folder">;

let root: string;
let common: Common;
const cleanup = new AsyncDisposableStack();

async function placeFor(implementation: Implementation | undefined): Promise<Place> {
  const folder = join(root, `${implementation ?? "ours"}-${crypto.randomUUID().slice(0, 8)}`);
  await mkdir(folder, { recursive: true });
  return { folder, ...common };
}

async function watch(item: Case, implementation: Implementation | undefined): Promise<Observation> {
  const place = await placeFor(implementation);
  const env = item.env?.(place);
  await using registry = await startRegistry({
    ...(implementation === undefined ? {} : { implementation }),
    storageFolder: join(place.folder, "storage"),
    config: item.config?.(place) ?? {},
    ...(env === undefined ? {} : { env }),
  });
  const observation = item.onlyLook === true ? {} : await observe(registry, item.asking?.(place));
  return item.look === undefined ? observation : { ...observation, look: await item.look(registry, place) };
}

/** The status of a start that must fail. */
async function refusal(item: (typeof REFUSED)[number], implementation: Implementation | undefined): Promise<number> {
  const place = await placeFor(implementation);
  const file = join(place.folder, "config.yml");
  const config: ConfigSection = { ...defaultConfig(join(place.folder, "storage")), ...item.config?.(place) };
  await Bun.write(file, item.text ?? stringify(config));
  return (await tryCommand([...registryCommand(implementation), "serve", file], { env: item.env?.(place) ?? {}, timeoutMs: 5000 })).exitCode;
}

describeWith(["reference"], "with the same configuration and environment, distribution 2.8 and ours", () => {
  beforeAll(async () => {
    const folder = cleanup.use(await tempFolder());
    root = folder.path;
    const passwordFile = join(root, "htpasswd");
    await Bun.write(passwordFile, `alice:${await Bun.password.hash("secret", { algorithm: "bcrypt", cost: 4 })}\n`);
    const upstream = cleanup.use(await startRegistry());
    await pushImage({ url: upstream.url, name: "team/app" }, "v1", { format: "docker" });
    common = { passwordFile, ...(await writeCertificate(root, "tls", await makeCertificate("localhost"))), upstreamUrl: upstream.url };
  });
  afterAll(async () => await cleanup.disposeAsync());

  for (const item of ACCEPTED) {
    test(`behave alike: ${item.what}`, async () => {
      const [theirs, ours] = await Promise.all([watch(item, "distribution"), watch(item, undefined)]);
      const expected = DIFFERENCES.filter(({ what }) => what === item.what || what === "*").map(({ seen }) => seen);
      const without = (observation: Observation): Observation => Object.fromEntries(Object.entries(observation).filter(([name]) => !expected.includes(name)));
      expect(without(ours)).toEqual(without(theirs));
      // A difference that is none any more is taken out of the table.
      for (const { what, seen } of DIFFERENCES) if (what === item.what) expect([seen, ours[seen]]).not.toEqual([seen, theirs[seen]]);
    });
  }

  for (const item of REFUSED) {
    test(`refuse to start: ${item.what}`, async () => {
      const [theirs, ours] = await Promise.all([refusal(item, "distribution"), refusal(item, undefined)]);
      expect(theirs).toBeGreaterThan(0);
      expect(ours).toBe(1);
    });
  }
});
