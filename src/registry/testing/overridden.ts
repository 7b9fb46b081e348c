import type { StorageDriver } from "../../storage/driver.ts";

/** A store of which some methods do something else. */
export function overridden(driver: StorageDriver, methods: Partial<StorageDriver>): StorageDriver {
  return new Proxy(driver, {
    get(target, key) {
      const own: unknown = Reflect.get(methods, key);
      if (own !== undefined) return own;
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
