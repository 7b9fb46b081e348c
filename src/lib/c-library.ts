import { dlopen, type FFIFunction } from "bun:ffi";

/** The C library of glibc systems, of musl systems, and of macOS. */
const NAMES = ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1", "libSystem.B.dylib"];

/** Opens the C library for what neither Bun nor Node offers. @throws Error where there is none, as on Windows */
export function openCLibrary<const S extends Record<string, FFIFunction>>(symbols: S): ReturnType<typeof dlopen<S>> {
  let failure: unknown;
  for (const name of NAMES) {
    try {
      return dlopen(name, symbols);
    } catch (error) {
      failure = error;
    }
  }
  throw new Error(`cannot open the C library as ${NAMES.join(" or ")}`, { cause: failure });
}
