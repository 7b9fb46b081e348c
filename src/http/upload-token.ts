import { createHmac, timingSafeEqual } from "node:crypto";
import type { RepositoryName } from "../oci/name.ts";
import { RegistryError } from "../oci/errors.ts";

/** What an upload's URL says of the upload, signed: any instance with the same secret can go on with it. */
export interface UploadState {
  readonly name: RepositoryName;
  readonly id: string;
  readonly offset: number;
  readonly startedAt: Date;
}

const MAC_BYTES = 32;

/**
 * Makes and checks `_state` parameters in distribution's form, so that an upload started by one can be finished by the other:
 * URL-safe base64, padded, of HMAC-SHA256(secret, json) and the json.
 */
export class UploadTokens {
  readonly #secret: Uint8Array;

  constructor(secret: Uint8Array) {
    this.#secret = secret;
  }

  pack(state: UploadState): string {
    const startedAt = state.startedAt.toISOString().replace(/\.000Z$/, "Z");
    const json = Buffer.from(JSON.stringify({ Name: state.name, UUID: state.id, Offset: state.offset, StartedAt: startedAt }));
    return Buffer.concat([this.#mac(json), json]).toString("base64").replaceAll("+", "-").replaceAll("/", "_");
  }

  /**
   * Checks a `_state` parameter.
   * @throws RegistryError BLOB_UPLOAD_INVALID, status 400, when it is missing, forged, or another upload's.
   */
  unpack(token: string | null, name: RepositoryName, id: string): UploadState {
    const bytes = Buffer.from(token ?? "", "base64url");
    if (bytes.length <= MAC_BYTES) throw invalid("invalid secret");
    const json = bytes.subarray(MAC_BYTES);
    if (!timingSafeEqual(bytes.subarray(0, MAC_BYTES), this.#mac(json))) throw invalid("invalid secret");
    const state = JSON.parse(json.toString()) as { Name: string; UUID: string; Offset: number; StartedAt: string };
    if (state.Name !== name || state.UUID !== id) throw invalid("the upload state belongs to another upload");
    return { name, id, offset: state.Offset, startedAt: new Date(state.StartedAt) };
  }

  #mac(json: Uint8Array): Buffer {
    return createHmac("sha256", this.#secret).update(json).digest();
  }
}

function invalid(detail: string): RegistryError {
  return new RegistryError("BLOB_UPLOAD_INVALID", { status: 400, detail });
}
