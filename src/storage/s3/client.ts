import { createHash } from "node:crypto";
import type { S3Client, S3ClientConfig } from "@aws-sdk/client-s3";
import type { Logger } from "../../telemetry/log.ts";
import type { ObjectStoreDeps } from "../object-store/deps.ts";
import type { S3Options } from "./options.ts";
import { RequestLog } from "./request-log.ts";
import { Transport } from "./transport.ts";

/** The SDK's module. */
export type S3Sdk = typeof import("@aws-sdk/client-s3");

interface OutgoingRequest {
  readonly protocol: string;
  readonly body?: unknown;
  readonly headers: Record<string, string>;
}

/** A client of the SDK, and the module it comes from. */
export interface S3Connection {
  readonly sdk: S3Sdk;
  readonly client: S3Client;
}

/** Loads the SDK and makes a client. Nothing is sent. */
export async function openConnection(options: S3Options, deps: ObjectStoreDeps): Promise<S3Connection> {
  const sdk = await import("@aws-sdk/client-s3");
  const endpoint = endpointOf(options);
  warnOfIgnored(options, deps.log);
  const transport = new Transport({
    skipVerify: options.skipverify,
    silenceMs: options.timeout,
    proxyEnv: endpoint !== undefined && isThisHost(endpoint) ? {} : (deps.env ?? {}),
    log: new RequestLog(deps.log, options.loglevel),
  });
  const config: S3ClientConfig = {
    region: options.region === "" ? "us-east-1" : options.region,
    ...(endpoint === undefined ? { tls: options.secure, useDualstackEndpoint: options.usedualstack, useAccelerateEndpoint: options.accelerate, useFipsEndpoint: options.usefipsendpoint } : { endpoint }),
    forcePathStyle: options.forcepathstyle ?? endpoint !== undefined,
    ...credentialsOf(options),
    // Stores that are not Amazon's know no other checksums than MD5.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    // Costs a round trip, and is of no use where bodies are sent with a signature over them.
    expectContinueHeader: false,
    // Calls are tried again by whoever makes them: the SDK stops trying for all when many fail at once.
    maxAttempts: 1,
    requestHandler: transport as unknown as NonNullable<S3ClientConfig["requestHandler"]>,
    ...userAgentOf(options, deps),
  };
  const client = new sdk.S3Client(config);
  addMiddlewares(client);
  return { sdk, client };
}

/** The endpoint's URL; undefined for Amazon's own. */
export function endpointOf({ regionendpoint, secure }: Pick<S3Options, "regionendpoint" | "secure">): string | undefined {
  if (regionendpoint === undefined || regionendpoint === "") return undefined;
  return /^[a-z]+:\/\//i.test(regionendpoint) ? regionendpoint : `${secure ? "https" : "http"}://${regionendpoint}`;
}

/** As programs in Go do, this host is asked without a proxy. */
function isThisHost(endpoint: string): boolean {
  return URL.canParse(endpoint) && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(new URL(endpoint).hostname);
}

function credentialsOf({ accesskey, secretkey, sessiontoken }: S3Options): Pick<S3ClientConfig, "credentials"> {
  if (!accesskey || !secretkey) return {};
  return { credentials: { accessKeyId: accesskey, secretAccessKey: secretkey, ...(sessiontoken ? { sessionToken: sessiontoken } : {}) } };
}

function userAgentOf({ useragent }: S3Options, deps: ObjectStoreDeps): Pick<S3ClientConfig, "customUserAgent"> {
  const agent = useragent || deps.userAgent;
  if (agent === undefined) return {};
  const [name = "", version] = agent.split("/", 2);
  return { customUserAgent: [version === undefined ? [name] : [name, version]] };
}

function warnOfIgnored(options: S3Options, log: Logger): void {
  if (endpointOf(options) === undefined) return;
  for (const key of ["usedualstack", "accelerate", "usefipsendpoint"] as const) {
    if (options[key]) log.warn(`storage.s3.${key} has no effect beside storage.s3.regionendpoint`);
  }
}

function addMiddlewares(client: S3Client): void {
  client.middlewareStack.addRelativeTo(
    <A extends { readonly request: unknown }, R>(next: (args: A) => Promise<R>, context: { readonly commandName?: string }) =>
      async (args: A): Promise<R> => {
        adjustHeaders(args.request as OutgoingRequest, context.commandName ?? "");
        return await next(args);
      },
    // What is built is whole then, and not yet signed.
    { relation: "before", toMiddleware: "retryMiddleware", name: "adjustHeaders" },
  );
}

function adjustHeaders({ protocol, body, headers }: OutgoingRequest, command: string): void {
  // TLS guards the bytes already; hashing them for the signature would cost as much time again as sending them.
  if (protocol === "https:" && (command === "UploadPartCommand" || command === "PutObjectCommand")) headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD";
  // A batch of deletions must carry a checksum; MD5 is the one that every store knows.
  if (command === "DeleteObjectsCommand" && typeof body === "string") {
    for (const name of Object.keys(headers)) if (/^x-amz-(checksum-|sdk-checksum-)/i.test(name)) delete headers[name];
    headers["content-md5"] = createHash("md5").update(body).digest("base64");
  }
}
