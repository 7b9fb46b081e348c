import type { Server } from "./contender.ts";
import { run } from "./load.ts";
import { settle } from "./streams.ts";
import { cost, rate, timed, type Workload } from "./workload.ts";

const MIB = 1024 * 1024;
/** What a gigabit of network carries. */
const GIGABIT = 118_000_000;

/** Pulls through a mirror. In the column of nginx the same blob is pulled from the upstream itself. */
export const MIRROR: readonly Workload[] = [firstPull("1 Gbit/s", GIGABIT), firstPull("10 Gbit/s", 10 * GIGABIT), firstPull("loopback", 0), secondPull()];

function firstPull(link: string, bytesPerSecond: number): Workload {
  return {
    name: `mirror, first pull, upstream at ${link}`,
    hasLimit: true,
    async measure(bench, contender) {
      const { url, big } = await bench.upstream(bytesPerSecond);
      await using mirror = contender.isRegistry ? await bench.fresh(contender, { mirrorOf: url }) : undefined;
      await settle(bench.scale.bigMiB);
      const pulled = await pull(`${mirror?.url ?? url}/v2/bench/big/blobs/${big.digest}`, big.sizeBytes);
      return [rate("throughput", "MiB/s", big.sizeBytes / MIB / pulled.seconds), cost("first byte", "ms", pulled.firstByteMs), ...memoryOf(mirror)];
    },
  };
}

function memoryOf(server: Server | undefined): ReturnType<typeof cost>[] {
  return server === undefined ? [] : [cost("peak memory", "MiB", server.memoryMiB("VmHWM"))];
}

function secondPull(): Workload {
  return {
    name: "mirror, second pull",
    hasLimit: true,
    async measure(bench, contender) {
      const { url, big } = await bench.upstream(0);
      await using mirror = contender.isRegistry ? await bench.fresh(contender, { mirrorOf: url }) : undefined;
      const path = `/v2/bench/big/blobs/${big.digest}`;
      if (mirror === undefined) return [rate("throughput", "MiB/s", big.sizeBytes / MIB / (await pull(url + path, big.sizeBytes)).seconds)];
      await pull(mirror.url + path, big.sizeBytes);
      await Bun.sleep(2000);
      const { seconds, cpuSeconds } = await timed(mirror, async () => void (await pull(mirror.url + path, big.sizeBytes)));
      return [rate("throughput", "MiB/s", big.sizeBytes / MIB / seconds), cost("CPU", "s/GiB", (cpuSeconds / big.sizeBytes) * 1024 * MIB)];
    },
  };
}

/** Reads a URL to its end and checks the size. */
async function pull(url: string, sizeBytes: number): Promise<{ readonly seconds: number; readonly firstByteMs: number }> {
  const text = await run(["curl", "-sSf", "-o", "/dev/null", "-w", "%{size_download} %{time_total} %{time_starttransfer}", url]);
  const [received, seconds = Number.NaN, firstByteSeconds = Number.NaN] = text.split(" ").map(Number);
  if (received !== sizeBytes) throw new Error(`${url}: ${received} bytes, expected ${sizeBytes}`);
  return { seconds, firstByteMs: firstByteSeconds * 1000 };
}
