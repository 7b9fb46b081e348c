import { openAzureDriver } from "../../src/storage/azure/driver.ts";
import { AZURE_OPTIONS } from "../../src/storage/azure/options.ts";
import { SILENT_LOGGER } from "../../src/telemetry/log.ts";
import { startAzurite } from "../support/azurite.ts";
import { faultyContract, type FaultySubject, type Refusal, storeFaults } from "./store-faults.ts";

const CONTAINER = "faults";
/** The driver's own; there is no option. */
const [PART_BYTES, MAX_TRIES] = [4 * 1024 * 1024, 6];

function refusal(status: number, code: string, maxTries: number): Refusal {
  const body = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>it is ${code}\nRequestId:1\nTime:2</Message></Error>`;
  return {
    fault: { kind: "answer", status, headers: { "Content-Type": "application/xml", "x-ms-error-code": code }, body },
    text: new RegExp(`: ${code}: .*\\(status ${status}\\)`),
    maxTries,
  };
}

/** Which block of a blob this is, as the driver numbers them in their names. */
function blockNumber(id: string): number {
  return Number(/\d{6}$/.exec(Buffer.from(id, "base64").toString())?.[0] ?? -1);
}

async function startSubject(): Promise<FaultySubject> {
  const azurite = await startAzurite();
  await azurite.createContainer(CONTAINER);
  const search = (url: string): URLSearchParams => new URL(url, azurite.url).searchParams;
  return {
    endpoint: azurite.url,
    partBytes: PART_BYTES,
    minSilenceMs: 250,
    maxTries: MAX_TRIES,
    refusals: {
      internal: refusal(500, "InternalError", MAX_TRIES),
      overload: refusal(503, "ServerBusy", MAX_TRIES),
      expired: refusal(401, "InvalidAuthenticationInfo", 1),
      denied: refusal(403, "AuthorizationPermissionMismatch", 1),
    },
    open: async (endpoint, silenceMs, root = "") => await openAzureDriver(AZURE_OPTIONS.parse(azurite.section(CONTAINER, { serviceurl: `${endpoint}/${azurite.account}`, rootdirectory: root })), { log: SILENT_LOGGER, silenceMs }),
    names: async (prefix) => (await Array.fromAsync(azurite.container(CONTAINER).listBlobsFlat({ prefix }))).map(({ name }) => name),
    // An unfinished upload is a blob that is seen; blocks of which nothing is made are not told of, and vanish by themselves.
    unfinished: async () => 0,
    begins: () => false,
    readsContent: ({ method, url }) => method === "GET" && !search(url).has("comp") && !search(url).has("restype"),
    sendsSecondPart: ({ url, headers }) => Number(headers.get("x-ms-blob-condition-appendpos") ?? 0) > 0 || blockNumber(search(url).get("blockid") ?? "") === 1,
    keptBytes: PART_BYTES,
    // Azurite itself asks for the source of a copy, and does not try again.
    spares: ({ url }) => search(url).get("comp") === "metadata",
    // What is not there may be what the first try deleted.
    isAmbiguous: ({ method }) => method === "DELETE",
    [Symbol.asyncDispose]: () => azurite[Symbol.asyncDispose](),
  };
}

storeFaults("Azure", startSubject);
faultyContract("azure", startSubject, {});
