/** The elements inside another, as the SDK gives them: texts, elements, or lists of either where there are several of a name. */
export type XmlElement = Readonly<Record<string, unknown>>;

/** A document's root element. @throws Error when there is none */
export function rootOf(document: unknown): XmlElement {
  if (!isElement(document)) throw new Error("oss: the store's answer is no document");
  return document;
}

/** All elements of a name; one is a list, too, and none is an empty one. */
export function elementsOf(parent: XmlElement, name: string): readonly XmlElement[] {
  const value = parent[name];
  return (Array.isArray(value) ? value : [value]).filter(isElement);
}

/** The text of an element; undefined when there is no such element, or nothing in it. */
export function textOf(parent: XmlElement, name: string): string | undefined {
  const value = parent[name];
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** The text of an element that must be there. @throws Error */
export function requiredText(parent: XmlElement, name: string): string {
  const text = textOf(parent, name);
  if (text === undefined) throw new Error(`oss: the store's answer lacks ${name}`);
  return text;
}

/** A text for a place between tags. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);
}

function isElement(value: unknown): value is XmlElement {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
