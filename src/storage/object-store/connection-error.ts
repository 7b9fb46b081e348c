/** The connection broke, or the store was silent for too long. */
export class StoreConnectionError extends Error {
  readonly code: string;
  constructor(message: string, code: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "StoreConnectionError";
    this.code = code;
  }
}

/** Marks what the network does as worth another try; everything else stays as it is. @param what Who was asked for what. */
export function connectionError(error: unknown, what: string): unknown {
  if (error instanceof StoreConnectionError || !(error instanceof Error)) return error;
  const code = "code" in error && typeof error.code === "string" ? error.code : undefined;
  if (code === undefined || isCertificateError(code)) return error;
  return new StoreConnectionError(`${what}: ${error.message}`, code, error);
}

function isCertificateError(code: string): boolean {
  return /CERT|SELF_SIGNED|UNABLE_TO_|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH|PATH_LENGTH_EXCEEDED|ERR_TLS_/.test(code);
}
