/** Adds items to the end of a list: not with `push(...)`, which puts all of them on the stack. */
export function addAll<T>(list: T[], more: Iterable<T>): void {
  for (const each of more) list.push(each);
}
