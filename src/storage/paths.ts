import { InvalidPathError } from "./errors.ts";

/**
 * Checks a path against the grammar of drivers, `^(/[A-Za-z0-9._-]+)+$`, and refuses the components `.` and `..` that would leave the root.
 * @param allowRoot Whether `/` itself will do.
 * @throws InvalidPathError
 */
export function checkPath(driver: string, path: string, allowRoot = false): void {
  if (path === "/" && allowRoot) return;
  if (!isPath(path)) throw new InvalidPathError(driver, path);
}

// A loop over characters: this runs several times for every request, and the expression above backtracks.
function isPath(path: string): boolean {
  if (path.charCodeAt(0) !== SLASH) return false;
  let start = 1;
  for (let i = 1; i <= path.length; i++) {
    const c = i === path.length ? SLASH : path.charCodeAt(i);
    if (c !== SLASH) {
      if (!isNameCharacter(c)) return false;
      continue;
    }
    const length = i - start;
    if (length === 0) return false;
    if (path.charCodeAt(start) === DOT && (length === 1 || (length === 2 && path.charCodeAt(start + 1) === DOT))) return false;
    start = i + 1;
  }
  return true;
}

const SLASH = 47;
const DOT = 46;

function isNameCharacter(c: number): boolean {
  return (c >= 97 && c <= 122) || (c >= 48 && c <= 57) || (c >= 65 && c <= 90) || c === 46 || c === 95 || c === 45;
}
