import { createPrivateKey, createSign, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import type { StorageDriver } from "../driver.ts";
import { hasObjectKeys } from "../object-store/keys.ts";
import { AddressRanges } from "./address-ranges.ts";
import type { MiddlewareDeps, RedirectUrl } from "./middlewares.ts";
import type { CloudFrontOptions } from "./options.ts";

/** What CloudFront stands before. */
export interface CloudFrontDeps extends MiddlewareDeps {
  readonly driver: StorageDriver;
  /** The store's own URLs, for clients that are near it. */
  readonly next: RedirectUrl | undefined;
}

/** A middleware that is open. */
export interface OpenedCloudFront extends AsyncDisposable {
  readonly redirectUrl: RedirectUrl;
}

/**
 * Opens CloudFront before a bucket of S3: URLs are signed with a canned policy. Clients inside Amazon's network go to the bucket, if so
 * configured.
 * @returns undefined, and a warning, for another store.
 * @throws Error that names the key file when it cannot be used
 * @see Amazon CloudFront Developer Guide, "Creating a signed URL using a canned policy"
 */
export async function openCloudFront(options: CloudFrontOptions, deps: CloudFrontDeps): Promise<OpenedCloudFront | undefined> {
  const { driver, next, log } = deps;
  if (driver.name !== "s3" || !hasObjectKeys(driver)) {
    log.warn("the cloudfront middleware works with the s3 driver only; clients are sent where they were without it", { driver: driver.name });
    return undefined;
  }
  const sign = urlSigner(options, readKey(options.privatekey));
  const base = options.baseurl.endsWith("/") ? options.baseurl : `${options.baseurl}/`;
  const ranges = options.ipfilteredby === "aws" || options.ipfilteredby === "awsregion" ? new AddressRanges(options, deps) : undefined;
  const redirectUrl: RedirectUrl = async (path, request) => {
    if (next !== undefined && request.clientAddress !== undefined && ranges?.has(request.clientAddress) === true) return await next(path, request);
    return sign(base + encodeKey(driver.objectKey(path)), deps.clock.now());
  };
  return { redirectUrl, [Symbol.asyncDispose]: async () => ranges?.close() };
}

function readKey(file: string): KeyObject {
  try {
    const key = createPrivateKey(readFileSync(file));
    if (key.asymmetricKeyType === "rsa") return key;
  } catch (error) {
    throw new Error(`middleware.storage: cloudfront: privatekey: cannot use ${file}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  throw new Error(`middleware.storage: cloudfront: privatekey: ${file} is no RSA key`);
}

function encodeKey(key: string): string {
  return key.split("/").map(encodeURIComponent).join("/");
}

/** SHA-1 is what CloudFront takes for canned policies. */
function urlSigner({ keypairid, validMs }: CloudFrontOptions, key: KeyObject): (url: string, nowMs: number) => string {
  return (url, nowMs) => {
    const expires = Math.floor((nowMs + validMs) / 1000);
    const policy = `{"Statement":[{"Resource":"${url}","Condition":{"DateLessThan":{"AWS:EpochTime":${expires}}}}]}`;
    const signature = createSign("RSA-SHA1").update(policy).sign(key, "base64").replaceAll("+", "-").replaceAll("=", "_").replaceAll("/", "~");
    return `${url}?Expires=${expires}&Signature=${signature}&Key-Pair-Id=${encodeURIComponent(keypairid)}`;
  };
}
