import { RegistryError } from "../oci/errors.ts";
import { StorageFullError } from "../storage/errors.ts";

/**
 * Runs something that writes to the store, and tells the client in its own terms when the store is full.
 * @throws RegistryError UNKNOWN, status 507, in place of a StorageFullError; everything else as it comes.
 */
export async function withStorageErrors<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isStorageFull(error)) throw error;
    throw new RegistryError("UNKNOWN", { status: 507, message: "no space left on the registry's storage", cause: error });
  }
}

// A full store also fails what tidies up after the first failure; both then come in one error.
function isStorageFull(error: unknown): boolean {
  if (error instanceof SuppressedError) return isStorageFull(error.suppressed) || isStorageFull(error.error);
  return error instanceof StorageFullError;
}
