import { expect, test } from "bun:test";
import { accepts } from "./accept.ts";
import { matchesEtag } from "./conditional.ts";

test("matchesEtag takes quoted, unquoted, weak, listed and any", () => {
  for (const header of ['"sha256:a"', "sha256:a", 'W/"sha256:a"', '"x", "sha256:a"', "*"]) expect(matchesEtag(header, "sha256:a")).toBe(true);
  for (const header of ['"sha256:ab"', "sha256:", "", '"x"']) expect(matchesEtag(header, "sha256:a")).toBe(false);
});

test("accepts understands absence, wildcards and lists", () => {
  const type = "application/vnd.oci.image.index.v1+json";
  for (const header of [null, "", "*/*", "application/*", `text/html, ${type};q=0.5`, "text/html, */*;q=0.1"]) expect(accepts(header, type)).toBe(true);
  for (const header of ["text/html", "application/json"]) expect(accepts(header, type)).toBe(false);
});
