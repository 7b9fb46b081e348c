import { type FSWatcher, statSync, watch } from "node:fs";
import { dirname } from "node:path";
import { handleRequest } from "../http/handle.ts";
import type { AppParts } from "../http/context.ts";
import type { HttpOptions } from "../http/options.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Acme } from "./acme.ts";
import type { AlpnChallenges } from "./acme/alpn-challenges.ts";
import type { ConnectionLimit } from "./connection-limit.ts";
import type { InheritedSocket } from "./inherited-socket.ts";
import { listen, type ListenAddress, type Listener, type ListenOptions, parseAddress } from "./listen.ts";
import { ListeningSockets, type SocketName } from "./listening-sockets.ts";
import { readiness } from "./debug-listener.ts";
import { pathOf } from "./request-path.ts";
import { isTlsOn, type KeyPair, readKeyPair, tlsMaterial } from "./tls.ts";

/** What the API's listener needs. */
export interface ApiListenerParts {
  readonly app: AppParts;
  readonly log: Logger;
  /** Whether requests are served: started, and not stopping. */
  readonly isReady: () => boolean;
  readonly connectionLimit: ConnectionLimit | undefined;
  /** What is listened on instead of `http.addr`. */
  readonly inherited: InheritedSocket | undefined;
  /** The certificate that ACME has just now; absent without ACME. */
  readonly acme?: Pick<Acme, "current" | "challenges" | "onChange">;
}

/** Certificates are looked at again so long after their files changed: both must have been written. */
const SETTLE_MS = 500;
/** How long an old listener runs beside a new one. */
const RETIRE_MS = 20;

/** The API's listener: swaps certificates without dropping a connection. */
export class ApiListener {
  readonly #options: HttpOptions;
  readonly #parts: ApiListenerParts;
  readonly #watchers: FSWatcher[] = [];
  #listener: Listener;
  #sockets: ListeningSockets | undefined;
  #served: Served;
  #reloading: Promise<boolean> = Promise.resolve(false);
  #isStopped = false;
  #settling: ReturnType<typeof setTimeout> | undefined;

  private constructor(options: HttpOptions, parts: ApiListenerParts, started: { readonly listener: Listener; readonly served: Served }) {
    this.#options = options;
    this.#parts = parts;
    this.#listener = started.listener;
    this.#served = started.served;
  }

  /** Begins to listen. @throws Error that names the key, file or address that is the trouble */
  static async start(options: HttpOptions, parts: ApiListenerParts): Promise<ApiListener> {
    const served = currentlyServed(options, parts);
    const listener = await listen(listenOptions(options, parts, { ...served, address: configuredAddress(options) }));
    const api = new ApiListener(options, parts, { listener, served });
    api.#tune();
    parts.acme?.onChange(async () => await api.reloadCertificate());
    // An order may have begun meanwhile.
    await api.reloadCertificate();
    api.#watch();
    return api;
  }

  get address(): string {
    return this.#listener.address;
  }

  get pending(): number {
    return this.#listener.pending();
  }

  /**
   * Reads the certificate again; a broken one is logged, and the old one stays.
   * @returns Whether another one is served now.
   */
  async reloadCertificate(): Promise<boolean> {
    const reload = this.#reloading.then(async () => await this.#reload());
    this.#reloading = reload;
    return await reload;
  }

  async #reload(): Promise<boolean> {
    if (this.#isStopped) return false;
    try {
      const served = currentlyServed(this.#options, this.#parts);
      const isNew = served.pair?.certificate !== this.#served.pair?.certificate || served.pair?.key !== this.#served.pair?.key;
      if (!isNew && served.challenges === this.#served.challenges) return false;
      const old = this.#listener;
      this.#listener = await listen(listenOptions(this.#options, this.#parts, { ...served, address: sameAddress(old.address, this.#options, this.#parts) }));
      this.#served = served;
      this.#tune();
      // Whom the system had given to the old one already must be taken by it before it closes.
      await Bun.sleep(RETIRE_MS);
      // Requests under way end there.
      void old.stop(true);
      if (isNew) this.#parts.log.info("serving a new certificate", { address: this.#listener.address });
      return isNew;
    } catch (error) {
      this.#parts.log.error("the new certificate cannot be used; the old one stays", { "err.message": error instanceof Error ? error.message : String(error) });
      return false;
    }
  }

  async stop(graceful: boolean): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#settling);
    for (const watcher of this.#watchers) watcher.close();
    await this.#reloading;
    await this.#listener.stop(graceful);
  }

  // What Bun has no options for; elsewhere than on Linux it stays undone.
  #tune(): void {
    const { connectionLimit } = this.#parts;
    try {
      const name = this.#parts.inherited?.name ?? socketName(this.#listener.address, this.#options);
      this.#sockets = ListeningSockets.find(name, this.#sockets);
      this.#sockets.resetStalled(this.#options.limits.stalltimeout);
      connectionLimit?.watch(this.#sockets);
    } catch (error) {
      connectionLimit?.watchNothing(error);
    }
  }

  // Folders are watched and not files: certificates are replaced by renames and, in Kubernetes, by links to other folders.
  #watch(): void {
    const { certificate, key } = this.#options.tls;
    if (certificate === undefined || key === undefined) return;
    for (const folder of new Set([dirname(certificate), dirname(key)])) {
      if (statSync(folder, { throwIfNoEntry: false }) === undefined) continue;
      const watcher = watch(folder, { persistent: false }, () => {
        clearTimeout(this.#settling);
        this.#settling = setTimeout(() => void this.reloadCertificate(), SETTLE_MS);
      });
      this.#watchers.push(watcher);
    }
  }
}

/** What the listener is made for. */
interface Served {
  /** Undefined without TLS. */
  readonly pair: KeyPair | undefined;
  readonly challenges: AlpnChallenges | undefined;
}

function currentlyServed(options: HttpOptions, { acme }: ApiListenerParts): Served {
  if (!isTlsOn(options.tls)) return { pair: undefined, challenges: undefined };
  const { certificate, key } = options.tls;
  if (certificate !== undefined && key !== undefined) return { pair: readKeyPair(certificate, key), challenges: undefined };
  if (acme === undefined) throw new Error("no certificate could be ordered yet");
  return { pair: acme.current(), challenges: acme.challenges() };
}

function configuredAddress(options: HttpOptions): ListenAddress {
  if (options.net === "unix") return { net: "unix", path: options.addr, mode: Number.parseInt(options.socketmode, 8) };
  try {
    return parseAddress(options.addr);
  } catch (error) {
    throw new Error(`http.addr: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

// The second listener takes the port that the first one got.
function sameAddress(address: string, options: HttpOptions, { inherited }: ApiListenerParts): ListenAddress {
  const configured = configuredAddress(options);
  return configured.net === "unix" || inherited !== undefined ? configured : { ...configured, port: parseAddress(address).port };
}

function socketName(address: string, options: HttpOptions): SocketName {
  return options.net === "unix" ? { path: address } : { port: parseAddress(address).port };
}

function listenOptions(options: HttpOptions, parts: ApiListenerParts, at: Served & { readonly address: ListenAddress }): ListenOptions {
  const tls = at.pair === undefined ? undefined : tlsMaterial(options.tls, at.pair, { log: parts.log, certificatesNameUsers: parts.app.access?.usesCertificates === true });
  return {
    address: at.address,
    tls,
    inherited: parts.inherited,
    reusePort: options.reuseport,
    challenges: at.challenges,
    http2: tls === undefined ? options.h2c.enabled : !options.http2.disabled,
    idleTimeoutSeconds: Math.ceil(options.limits.idletimeout / 1000),
    handle: (request, peer, pending) => probe(request, parts) ?? busy(pending, options.limits.requests) ?? handleRequest(parts.app, request, peer),
    failed: (error) => sendingFailed(error, parts.log),
  };
}

function busy(pending: number, limit: number): Promise<Response> | undefined {
  if (limit === 0 || pending <= limit) return undefined;
  const body = { errors: [{ code: "UNAVAILABLE", message: "service unavailable", detail: "too many requests at once" }] };
  return Promise.resolve(Response.json(body, { status: 503, headers: { "Retry-After": "2" } }));
}

// Probes of Kubernetes: before everything else, without authentication, logs or metrics.
function probe(request: Request, parts: ApiListenerParts): Promise<Response> | undefined {
  if (request.url.endsWith("/livez") && pathOf(request.url) === "/livez") return Promise.resolve(new Response("ok\n"));
  if (request.url.endsWith("/readyz") && pathOf(request.url) === "/readyz") return Promise.resolve(readiness(parts.isReady() && parts.app.unhealthy() === undefined));
  return undefined;
}

/** Bun opens a file after the handler answered: one that was deleted in between is a blob that is not there. */
function sendingFailed(error: Error, log: Logger): Response {
  if ("code" in error && error.code === "ENOENT") {
    return Response.json({ errors: [{ code: "BLOB_UNKNOWN", message: "blob unknown to registry" }] }, { status: 404 });
  }
  log.error("sending an answer failed", { "err.message": error.message });
  return Response.json({ errors: [{ code: "UNKNOWN", message: "unknown error" }] }, { status: 500 });
}
