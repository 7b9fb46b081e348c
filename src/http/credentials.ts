import type { ClientCertificate, Credentials } from "../auth/controller.ts";
import type { RequestContext } from "./context.ts";
import { requestOrigin } from "./urls.ts";

/** What an access controller looks at. Most are content with the header: nothing else is made before it is asked for. */
export class RequestCredentials implements Credentials {
  readonly #context: RequestContext;
  readonly authorization: string | undefined;

  constructor(context: RequestContext) {
    this.#context = context;
    this.authorization = context.request.headers.get("authorization") ?? undefined;
  }

  get clientAddress(): string {
    return this.#context.loginAddress;
  }

  get scheme(): string {
    return requestOrigin(this.#context.request, this.#context.peer.scheme).scheme;
  }

  get host(): string {
    return requestOrigin(this.#context.request, this.#context.peer.scheme).host;
  }

  get certificate(): ClientCertificate | undefined {
    return this.#context.peer.certificate;
  }

  get signal(): AbortSignal {
    return this.#context.request.signal;
  }
}
