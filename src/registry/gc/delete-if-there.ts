import type { StorageDriver } from "../../storage/driver.ts";
import { PathNotFoundError } from "../../storage/errors.ts";

/** Deletes a path that nobody needs, whether it comes back or not. @returns Whether there was something. */
export async function deleteIfThere(driver: StorageDriver, path: string): Promise<boolean> {
  try {
    await driver.delete(path, { durable: false });
    return true;
  } catch (error) {
    if (error instanceof PathNotFoundError) return false;
    throw error;
  }
}
