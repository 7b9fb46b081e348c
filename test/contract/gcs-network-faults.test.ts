import { openGcsDriver } from "../../src/storage/gcs/driver.ts";
import { GCS_OPTIONS } from "../../src/storage/gcs/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { startGcsServer } from "../support/gcs-server.ts";
import { faultyContract, type FaultySubject, type Refusal, storeFaults } from "./store-faults.ts";

const PART_BYTES = 1024 * 1024;
/** The driver's own; there is no option. */
const MAX_TRIES = 6;

function refusal(status: number, reason: string, maxTries: number): Refusal {
  const error = { code: status, message: `it is ${reason}`, errors: [{ reason, message: `it is ${reason}`, domain: "global" }] };
  return {
    fault: { kind: "answer", status, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ error }) },
    text: new RegExp(`: ${reason}: it is ${reason} \\(status ${status}\\)`),
    maxTries,
  };
}

async function startSubject(): Promise<FaultySubject> {
  const server = await startGcsServer({ rewriteBytes: PART_BYTES });
  return {
    endpoint: server.url,
    partBytes: PART_BYTES,
    minSilenceMs: 250,
    maxTries: MAX_TRIES,
    refusals: {
      internal: refusal(500, "backendError", MAX_TRIES),
      overload: refusal(503, "backendError", MAX_TRIES),
      // Once more with a new token.
      expired: refusal(401, "authError", 2),
      denied: refusal(403, "forbidden", 1),
    },
    open: async (endpoint, silenceMs, root = "") => await openGcsDriver(GCS_OPTIONS.parse({ bucket: server.bucket, credentials: server.keyFile, endpoint, chunksize: PART_BYTES, rootdirectory: root }), { log: SILENT_LOGGER, silenceMs }),
    names: async (prefix) => server.objects.names.filter((name) => name.startsWith(prefix)),
    unfinished: async (prefix) => server.sessions.openNames.filter((name) => name.startsWith(prefix)).length,
    begins: ({ method, url }) => method === "POST" && url.includes("uploadType=resumable"),
    readsContent: ({ url }) => url.includes("alt=media"),
    sendsSecondPart: ({ headers }) => /^bytes [1-9]/.test(headers.get("content-range") ?? ""),
    // Until a writer is closed it is not told how far its session came.
    keptBytes: 0,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

storeFaults("GCS", startSubject);
faultyContract("gcs", startSubject, { showsUnfinished: false });
