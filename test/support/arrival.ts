import { expectStatus } from "./http.ts";
import type { RegistryProcess } from "./registry-process.ts";

const PATIENCE_MS = 60_000;
const STEP_MS = 10;

/** `http.debug` of registries that `uploadArrives` looks at. */
export const DEBUG_METRICS = { addr: "127.0.0.1:0", prometheus: { enabled: true } };

/**
 * Waits until a registry writes the body of a request to its store, however busy the machine is.
 * @param registry Was started with DEBUG_METRICS.
 * @throws Error when none comes
 */
export async function uploadArrives(registry: RegistryProcess): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  const [, address = ""] = await registry.child.waitForOutput(/debug server listening (127\.0\.0\.1:\d+)/);
  for (;;) {
    const metrics = await (await expectStatus(200, `http://${address}/metrics`)).text();
    if (/^registry_uploads_in_flight [1-9]/m.test(metrics)) return;
    if (performance.now() > deadline) throw new Error("no upload comes");
    await Bun.sleep(STEP_MS);
  }
}
