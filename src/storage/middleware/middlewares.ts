import { posix } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import type { Logger } from "../../telemetry/log.ts";
import type { RedirectRequest, StorageDriver } from "../driver.ts";
import { openCloudFront } from "./cloudfront.ts";
import type { RedirectOptions, RewriteOptions, StorageMiddleware } from "./options.ts";

/** Says where a client may fetch a file; undefined: nowhere but here. */
export type RedirectUrl = (path: string, request: RedirectRequest) => Promise<string | undefined>;

/** What middlewares are opened with. */
export interface MiddlewareDeps {
  readonly log: Logger;
  readonly clock: Clock;
}

/** Puts middlewares around a driver, the first one innermost. They change where clients are sent, and nothing else. */
export async function withMiddlewares(driver: StorageDriver, middlewares: readonly StorageMiddleware[], deps: MiddlewareDeps): Promise<StorageDriver> {
  if (middlewares.length === 0) return driver;
  const closing = new AsyncDisposableStack();
  let redirectUrl: RedirectUrl | undefined = driver.redirectUrl?.bind(driver);
  for (const middleware of middlewares) {
    switch (middleware.name) {
      case "redirect":
        redirectUrl = redirectTo(middleware.options);
        break;
      case "rewrite":
        redirectUrl = rewritten(redirectUrl, middleware.options);
        break;
      case "cloudfront": {
        const opened = await openCloudFront(middleware.options, { ...deps, driver, next: redirectUrl });
        if (opened === undefined) break;
        closing.use(opened);
        redirectUrl = opened.redirectUrl;
      }
    }
  }
  return replaceUrls(driver, redirectUrl, closing);
}

/** Everything is the driver's but its URLs, and its end, before which the middlewares end. */
function replaceUrls(driver: StorageDriver, redirectUrl: RedirectUrl | undefined, closing: AsyncDisposableStack): StorageDriver {
  const close = async (): Promise<void> => {
    await closing.disposeAsync();
    await driver[Symbol.asyncDispose]();
  };
  const members = new Map<PropertyKey, unknown>([
    ["redirectUrl", redirectUrl],
    [Symbol.asyncDispose, close],
  ]);
  return new Proxy(driver, {
    get(target, key) {
      if (!members.has(key)) {
        const member: unknown = Reflect.get(target, key, target);
        members.set(key, typeof member === "function" ? member.bind(target) : member);
      }
      return members.get(key);
    },
  });
}

function redirectTo({ baseurl }: RedirectOptions): RedirectUrl {
  const { protocol, host, pathname } = new URL(baseurl);
  return async (path) => `${protocol}//${host}${posix.join(pathname, path)}`;
}

function rewritten(next: RedirectUrl | undefined, { scheme, host, trimpathprefix }: RewriteOptions): RedirectUrl | undefined {
  if (next === undefined) return undefined;
  return async (path, request) => {
    const given = await next(path, request);
    if (given === undefined) return undefined;
    // Not by the setters of URL, which refuse to change some schemes, and keep a port that is not named.
    const url = new URL(given);
    const pathname = trimpathprefix !== undefined && url.pathname.startsWith(trimpathprefix) ? url.pathname.slice(trimpathprefix.length) : url.pathname;
    const rooted = pathname.startsWith("/") ? pathname : `/${pathname}`;
    return `${scheme === undefined || scheme === "" ? url.protocol : `${scheme}:`}//${host === undefined || host === "" ? url.host : host}${rooted}${url.search}`;
  };
}
