import type { RedirectRequest } from "../driver.ts";
import type { S3Connection } from "./client.ts";
import type { S3Options } from "./options.ts";

/** Which URLs are made. */
export interface PresignerOptions extends Pick<S3Options, "bucket" | "redirectendpoint"> {
  /** How long they are good for. */
  readonly expiryMs: number;
}

/** Makes URLs at which clients fetch objects themselves, without credentials, for a while. */
export class Presigner {
  readonly #connection: S3Connection;
  readonly #options: PresignerOptions;
  readonly #sign: typeof import("@aws-sdk/s3-request-presigner").getSignedUrl;
  /** Where clients reach the store, if not where we do. */
  readonly #publicEndpoint: URL | undefined;

  private constructor(connection: S3Connection, options: PresignerOptions, sign: typeof import("@aws-sdk/s3-request-presigner").getSignedUrl) {
    this.#connection = connection;
    this.#options = options;
    this.#sign = sign;
    this.#publicEndpoint = options.redirectendpoint ? new URL(options.redirectendpoint) : undefined;
  }

  /** Loads what signs URLs. */
  static async open(connection: S3Connection, options: PresignerOptions): Promise<Presigner> {
    const { getSignedUrl } = await import("@aws-sdk/s3-request-presigner");
    return new Presigner(connection, options, getSignedUrl);
  }

  /** Whether the object is there is not looked at. */
  async url(key: string, method: RedirectRequest["method"]): Promise<string> {
    const { sdk, client } = this.#connection;
    const input = { Bucket: this.#options.bucket, Key: key };
    const command = method === "HEAD" ? new sdk.HeadObjectCommand(input) : new sdk.GetObjectCommand(input);
    const endpoint = this.#publicEndpoint;
    if (endpoint !== undefined) {
      // Before the signature, which covers the host.
      command.middlewareStack.addRelativeTo(
        <A extends { readonly request: unknown }, R>(next: (args: A) => Promise<R>) =>
          async (args: A): Promise<R> => {
            const request = args.request as { readonly headers: Readonly<Record<string, string>> };
            const { protocol, hostname, port, host } = endpoint;
            Object.assign(request, { protocol, hostname, port: port === "" ? undefined : Number(port), headers: { ...request.headers, host } });
            return await next(args);
          },
        { relation: "before", toMiddleware: "retryMiddleware", name: "publicEndpoint" },
      );
    }
    return await this.#sign(client, command, { expiresIn: Math.round(this.#options.expiryMs / 1000) });
  }
}
