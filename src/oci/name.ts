import { RegistryError } from "./errors.ts";

/** A repository name that was checked: `team/app`. */
export type RepositoryName = string & { readonly __brand: "RepositoryName" };

/** A tag that was checked. */
export type Tag = string & { readonly __brand: "Tag" };

const COMPONENT = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
// Distribution accepts a first component in the form of a host name, upper case and all (`Foo/bar`); stores hold such folders.
const DOMAIN_COMPONENT = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
const DOMAIN = `${DOMAIN_COMPONENT}(?:\\.${DOMAIN_COMPONENT})*(?::[0-9]+)?`;
const NAME = new RegExp(`^(?:${COMPONENT}|${DOMAIN}/${COMPONENT})(?:/${COMPONENT})*$`);
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

/** The longest repository name, in characters. */
export const MAX_NAME_LENGTH = 255;

/** No name of such a length is of use to anybody, and looking through a long one takes its time. */
const MAX_FORM_LENGTH = 4096;

/** Whether a text has the form of a repository name, which it may have although it is too long for one. */
export function hasNameForm(text: string): boolean {
  return text.length <= MAX_FORM_LENGTH && NAME.test(text);
}

/**
 * Checks a repository name.
 * @throws RegistryError NAME_INVALID
 * @see OCI distribution-spec, "Pulling manifests", `<name>`
 */
export function parseName(text: string): RepositoryName {
  if (text.length > MAX_NAME_LENGTH) {
    throw new RegistryError("NAME_INVALID", { detail: `repository name must not be more than ${MAX_NAME_LENGTH} characters` });
  }
  if (!NAME.test(text)) throw new RegistryError("NAME_INVALID", { detail: { name: text } });
  // The port of a host-like first component cannot be a folder name in any store.
  if (text.includes(":")) throw new RegistryError("NAME_INVALID", { detail: "repository name must not contain a port" });
  return text as RepositoryName;
}

/** Whether a text is a repository name that can be used. */
export function isName(text: string): text is RepositoryName {
  return text.length <= MAX_NAME_LENGTH && NAME.test(text) && !text.includes(":");
}

/** Whether a text is a tag. */
export function isTag(text: string): text is Tag {
  return TAG.test(text);
}

/**
 * Checks a tag.
 * @throws RegistryError TAG_INVALID
 */
export function parseTag(text: string): Tag {
  if (!TAG.test(text)) throw new RegistryError("TAG_INVALID", { message: "invalid tag", detail: { tag: text } });
  return text as Tag;
}
