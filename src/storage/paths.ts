import { InvalidPathError } from "./errors.ts";

const SLASH = 47;
const DOT = 46;

/** 1 for the codes of characters that names may have: letters, digits, `.`, `_`, `-`. */
const NAME_CHARACTERS = Uint8Array.from({ length: 128 }, (_, code) => (/[A-Za-z0-9._-]/.test(String.fromCharCode(code)) ? 1 : 0));

/**
 * Refuses what is no path of a file: `^(/[A-Za-z0-9._-]+)+$`, without the components `.` and `..`, which the expression would let
 * through and which would lead out of the store.
 * @param driver The driver's name, for the error's text.
 * @throws InvalidPathError
 */
export function checkPath(driver: string, path: string): void {
  if (!isPath(path)) throw new InvalidPathError(driver, path);
}

/** As `checkPath`, but lets the root `/` through. @throws InvalidPathError */
export function checkDirectoryPath(driver: string, path: string): void {
  if (path !== "/" && !isPath(path)) throw new InvalidPathError(driver, path);
}

/** Whether a text can be one component of a path. */
export function isPathName(name: string): boolean {
  return !name.includes("/") && isPath(`/${name}`);
}

/** The path of a child. */
export function childPath(directory: string, name: string): string {
  return directory === "/" ? `/${name}` : `${directory}/${name}`;
}

/** The directory that holds a path; `/` for those at the top. */
export function parentPath(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash <= 0 ? "/" : path.slice(0, slash);
}

// A loop instead of the expression: this runs several times for every request.
function isPath(path: string): boolean {
  if (path.length < 2 || path.charCodeAt(0) !== SLASH) return false;
  let nameStart = 1;
  for (let index = 1; index < path.length; index++) {
    const code = path.charCodeAt(index);
    if (code === SLASH) {
      if (!isName(path, nameStart, index)) return false;
      nameStart = index + 1;
    } else if (NAME_CHARACTERS[code] !== 1) return false;
  }
  return isName(path, nameStart, path.length);
}

/** Whether the characters from `start` to `end` are neither nothing, nor `.`, nor `..`. */
function isName(path: string, start: number, end: number): boolean {
  const length = end - start;
  if (length > 2) return true;
  if (length === 0) return false;
  return path.charCodeAt(start) !== DOT || (length === 2 && path.charCodeAt(start + 1) !== DOT);
}
