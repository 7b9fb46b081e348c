import { describe } from "bun:test";

/** Names of services that this machine is said not to have; see `scripts/test-packages.txt`. */
const SKIPPED: readonly string[] = (process.env["REGISTRY_TEST_SKIP"] ?? "").split(",");

/** Whether somebody named the service in `REGISTRY_TEST_SKIP`. */
export function isSkipped(service: string): boolean {
  return SKIPPED.includes(service);
}

/**
 * `describe` for tests that need services of the machine: skipped only when one of them is named in `REGISTRY_TEST_SKIP`. A service
 * that is merely missing makes them fail.
 */
export function describeWith(services: readonly string[], title: string, body: () => void): void {
  describe.skipIf(services.some(isSkipped))(title, body);
}
