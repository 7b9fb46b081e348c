import { openOssDriver } from "../../src/storage/oss/driver.ts";
import { OSS_OPTIONS } from "../../src/storage/oss/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { ossSection, startOssServer } from "../support/oss-server.ts";
import { faultyContract, type FaultySubject, type Refusal, storeFaults } from "./store-faults.ts";

const PART_BYTES = 5 * 1024 * 1024;
/** The driver's own; there is no option. */
const MAX_TRIES = 6;

function refusal(status: number, code: string, maxTries: number): Refusal {
  const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>it is ${code}</Message><RequestId>1</RequestId><HostId>127.0.0.1</HostId></Error>`;
  return {
    // Answers to HEAD say why in a header.
    fault: { kind: "answer", status, headers: { "Content-Type": "application/xml", "x-oss-request-id": "1", "x-oss-err": Buffer.from(body).toString("base64") }, body },
    text: new RegExp(`: ${code}: it is ${code} \\(status ${status}, request 1\\)`),
    maxTries,
  };
}

async function startSubject(): Promise<FaultySubject> {
  const server = startOssServer();
  return {
    endpoint: server.endpoint,
    partBytes: PART_BYTES,
    minSilenceMs: 250,
    maxTries: MAX_TRIES,
    refusals: {
      internal: refusal(500, "InternalError", MAX_TRIES),
      overload: refusal(503, "ServiceUnavailable", MAX_TRIES),
      expired: refusal(403, "SecurityTokenExpired", 1),
      denied: refusal(403, "AccessDenied", 1),
    },
    open: async (endpoint, silenceMs, root = "") => await openOssDriver(OSS_OPTIONS.parse(ossSection(server, { endpoint, chunksize: PART_BYTES, rootdirectory: root })), { log: SILENT_LOGGER, silenceMs }),
    names: async (prefix) => server.bucket.keys.filter((key) => key.startsWith(prefix)),
    unfinished: async (prefix) => server.bucket.uploads.filter(({ key }) => key.startsWith(prefix)).length,
    begins: ({ method, url }) => method === "POST" && /[?&]uploads\b/.test(url),
    readsContent: ({ method, url }) => method === "GET" && /^\/[^?]+$/.test(url),
    sendsSecondPart: ({ url }) => url.includes("partNumber=2"),
    keptBytes: PART_BYTES,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

storeFaults("OSS", startSubject);
faultyContract("oss", startSubject, { showsUnfinished: false });
