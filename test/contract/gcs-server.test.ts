import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash, sign } from "node:crypto";
import { makeKeyFile } from "../support/gcs/accounts.ts";
import { type GcsServer, startGcsServer } from "../support/gcs-server.ts";
import { seededBytes } from "../support/http.ts";

/*
 * The server that stands in for Cloud Storage is to refuse what the real one refuses, by its published API: else what the driver's
 * tests prove would be worth little.
 */

const STEP = 256 * 1024;

let server: GcsServer;
let token: string;
beforeAll(async () => {
  server = await startGcsServer({ rewriteBytes: 1024 * 1024, maxPage: 3 });
  token = server.account.giveToken().access_token;
});
afterAll(async () => await server[Symbol.asyncDispose]());

interface Asked {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

/** Asks with a good token, unless there are other headers of that name. */
async function ask(method: string, path: string, options: { readonly body?: string | Uint8Array<ArrayBuffer>; readonly headers?: Readonly<Record<string, string>> } = {}): Promise<Asked> {
  const { body, headers } = options;
  const response = await fetch(new URL(path, server.url), { method, redirect: "manual", headers: { authorization: `Bearer ${token}`, ...headers }, ...(body === undefined ? {} : { body }) });
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.startsWith("application/json") === true;
  return { status: response.status, headers: response.headers, text, json: isJson ? (JSON.parse(text) as Record<string, unknown>) : {} };
}

const objectPath = (name: string, query = ""): string => `/storage/v1/b/bucket/o/${encodeURIComponent(name)}${query}`;
const insertPath = (query: string): string => `/upload/storage/v1/b/bucket/o?${query}`;

async function put(name: string, content: string | Uint8Array<ArrayBuffer> = "text"): Promise<string> {
  const { status, json } = await ask("POST", insertPath(`uploadType=media&name=${encodeURIComponent(name)}`), { body: content, headers: { "content-type": "text/plain" } });
  expect(status).toBe(200);
  return String(json["generation"]);
}

describe("the token service", () => {
  const grant = async (assertion: string, type = "urn:ietf:params:oauth:grant-type:jwt-bearer"): Promise<Asked> =>
    await ask("POST", "/token", { body: new URLSearchParams({ grant_type: type, assertion }).toString(), headers: { "content-type": "application/x-www-form-urlencoded" } });
  const claims = (changes: object = {}): object => {
    const now = Math.floor(Date.now() / 1000);
    return { iss: server.keyFile.client_email, aud: server.keyFile.token_uri, iat: now, exp: now + 3600, scope: "https://www.googleapis.com/auth/devstorage.full_control", ...changes };
  };

  test("gives tokens for assertions that the account signed", async () => {
    const { status, json } = await grant(server.account.sign(claims()));
    expect([status, json["expires_in"], json["token_type"]]).toEqual([200, 3600, "Bearer"]);
    expect((await ask("GET", "/storage/v1/b/bucket", { headers: { authorization: `Bearer ${json["access_token"]}` } })).status).toBe(200);
  });

  const now = Math.floor(Date.now() / 1000);
  test.each([
    ["another account", { iss: "x@y" }],
    ["another audience", { aud: "https://example.com/token" }],
    ["an end that is past", { iat: now - 7200, exp: now - 3600 }],
    ["more than an hour", { exp: now + 7200 }],
    ["a beginning to come", { iat: now + 3000, exp: now + 3600 }],
    ["no scope", { scope: "" }],
  ])("refuses assertions with %s", async (_, changes) => {
    expect((await grant(server.account.sign(claims(changes)))).status).toBe(400);
  });

  test("refuses signatures of another key, other algorithms and other grants", async () => {
    const good = server.account.sign(claims());
    const signed = good.slice(0, good.lastIndexOf("."));
    const foreign = sign("RSA-SHA256", Buffer.from(signed), makeKeyFile("").private_key).toString("base64url");
    expect((await grant(`${signed}.${foreign}`)).json["error_description"]).toBe("Invalid JWT Signature.");
    expect((await grant(`${signed}.`)).status).toBe(400);
    expect((await grant(server.account.sign(claims(), { alg: "none" }))).status).toBe(400);
    expect((await grant(good, "password")).json["error"]).toBe("unsupported_grant_type");
  });
});

describe("requests", () => {
  test("need a token that is good now", async () => {
    for (const authorization of ["", "Bearer none", `Basic ${token}`]) expect((await ask("GET", objectPath("x"), { headers: { authorization } })).status).toBe(401);
    server.account.clockOffsetMs = 3601 * 1000;
    expect((await ask("GET", objectPath("x"))).status).toBe(401);
    server.account.clockOffsetMs = 0;
    expect((await ask("GET", objectPath("x"))).status).toBe(404);
  });

  test.each([
    ["GET", "/storage/v1/b/bucket/o?prefixx=a", 400],
    ["GET", "/storage/v1/b/bucket/o?maxResults=0", 400],
    ["GET", "/storage/v1/b/bucket/o?fields=a(b", 400],
    ["GET", "/storage/v1/b/bucket/o?pageToken=none", 400],
    ["GET", "/storage/v1/b/other/o", 404],
    ["GET", "/storage/v1/b/bucket/o/x?generation=no", 400],
    ["POST", "/storage/v1/b/bucket/o/x", 404],
    ["POST", "/upload/storage/v1/b/bucket/o?name=x", 400],
    ["POST", "/upload/storage/v1/b/bucket/o?uploadType=media", 400],
    ["POST", "/upload/storage/v1/b/bucket/o?uploadType=multipart&name=x", 400],
    ["POST", "/upload/storage/v1/b/bucket/o?uploadType=media&name=a%0Ab", 400],
    ["POST", "/storage/v1/b/bucket/o/x/rewriteTo/b/bucket/o/y", 404],
    ["DELETE", "/storage/v1/b/bucket/o/x", 404],
  ])("%s %s are answered with %d", async (method, path, status) => {
    const answer = await ask(method, path);
    expect([answer.status, (answer.json["error"] as { readonly code?: number }).code]).toEqual([status, status]);
  });

  test("are held to their preconditions", async () => {
    const generation = await put("conditions");
    expect((await ask("GET", objectPath("conditions", `?ifGenerationMatch=${generation}1`))).status).toBe(412);
    expect((await ask("GET", objectPath("conditions", `?ifGenerationNotMatch=${generation}`))).status).toBe(304);
    expect((await ask("DELETE", objectPath("conditions", "?ifGenerationMatch=1"))).status).toBe(412);
    expect((await ask("POST", insertPath("uploadType=media&name=conditions&ifGenerationMatch=0"), { body: "new" })).status).toBe(412);
    expect((await ask("GET", objectPath("conditions", "?generation=1"))).status).toBe(404);
    const patched = await ask("PATCH", objectPath("conditions", "?ifMetagenerationMatch=1"), { body: JSON.stringify({ metadata: { key: "value" } }) });
    expect([patched.json["metageneration"], patched.json["generation"], patched.json["metadata"]]).toEqual(["2", generation, { key: "value" }]);
    expect((await ask("PATCH", objectPath("conditions", "?ifMetagenerationMatch=1"), { body: "{}" })).status).toBe(412);
  });
});

describe("content", () => {
  test("comes whole, in ranges, and not past its end", async () => {
    await put("content", "0123456789");
    const media = async (range: string): Promise<readonly [number, string, string | null]> => {
      const { status, text, headers } = await ask("GET", objectPath("content", "?alt=media"), range === "" ? {} : { headers: { range } });
      return [status, text, headers.get("content-range")];
    };
    expect(await media("")).toEqual([200, "0123456789", null]);
    expect(await media("bytes=3-5")).toEqual([206, "345", "bytes 3-5/10"]);
    expect(await media("bytes=8-")).toEqual([206, "89", "bytes 8-9/10"]);
    expect(await media("bytes=-3")).toEqual([206, "789", "bytes 7-9/10"]);
    expect((await media("bytes=10-"))[0]).toBe(416);
  });

  test("is refused with checksums of other content", async () => {
    const body = (resource: object): string => `--b\r\ncontent-type: application/json\r\n\r\n${JSON.stringify(resource)}\r\n--b\r\ncontent-type: text/plain\r\n\r\ntext\r\n--b--\r\n`;
    const insert = async (resource: object): Promise<number> => (await ask("POST", insertPath("uploadType=multipart"), { body: body({ name: "sums", ...resource }), headers: { "content-type": "multipart/related; boundary=b" } })).status;
    expect([await insert({ crc32c: "AAAAAA==" }), await insert({ md5Hash: "AAAAAAAAAAAAAAAAAAAAAA==" })]).toEqual([400, 400]);
    expect((await ask("GET", objectPath("sums"))).status).toBe(404);
    expect(await insert({})).toBe(200);
  });
});

describe("sessions", () => {
  const bytes = seededBytes(STEP * 2 + 5);
  const begin = async (query = ""): Promise<string> => (await ask("POST", insertPath(`uploadType=resumable&name=session${query}`))).headers.get("location") ?? "";
  const send = async (uri: string, range: string, body: Uint8Array<ArrayBuffer> = new Uint8Array(), headers: Readonly<Record<string, string>> = {}): Promise<readonly [number, string | null]> => {
    const answer = await ask("PUT", uri, { body, headers: { "content-range": range, authorization: "", ...headers } });
    return [answer.status, answer.headers.get("range")];
  };

  test("take multiples of 256 KiB, and what is left at the end", async () => {
    const uri = await begin();
    expect(await send(uri, "bytes */*")).toEqual([308, null]);
    expect((await send(uri, "bytes 0-999/*", bytes.subarray(0, 1000)))[0]).toBe(400);
    expect((await send(uri, `bytes 0-${STEP - 1}/*`, bytes.subarray(0, STEP - 1)))[0]).toBe(400);
    expect((await send(uri, `bytes ${STEP}-${STEP * 2 - 1}/*`, bytes.subarray(0, STEP)))[0]).toBe(400);
    expect(await send(uri, `bytes 0-${STEP - 1}/*`, bytes.subarray(0, STEP))).toEqual([308, `bytes=0-${STEP - 1}`]);
    // What is there is skipped, whatever it is.
    expect(await send(uri, `bytes 0-${STEP * 2 - 1}/*`, new Uint8Array(STEP * 2))).toEqual([308, `bytes=0-${STEP * 2 - 1}`]);
    expect(await send(uri, "bytes */*")).toEqual([308, `bytes=0-${STEP * 2 - 1}`]);
    expect((await ask("GET", objectPath("session"))).status).toBe(404);
    expect((await send(uri, `bytes ${STEP * 2}-${STEP * 2 + 4}/${STEP * 2 + 5}`, bytes.subarray(STEP * 2), { "x-goog-hash": "crc32c=AAAAAA==" }))[0]).toBe(400);
    expect((await send(uri, `bytes */${STEP * 2 + 5}`))[0]).toBe(200);
    expect(server.objects.get("session", undefined).content).toEqual(new Uint8Array(Buffer.concat([bytes.subarray(0, STEP), new Uint8Array(STEP), bytes.subarray(STEP * 2)])));
    expect((await send(uri, "bytes */*"))[0]).toBe(200);
  });

  test("end when they are cancelled, and look at preconditions at the end", async () => {
    const cancelled = await begin();
    expect((await ask("DELETE", cancelled)).status).toBe(499);
    expect((await send(cancelled, "bytes */*"))[0]).toBe(499);
    server.objects.remove("session");
    const late = await begin("&ifGenerationMatch=0");
    await put("session");
    expect((await send(late, "bytes 0-4/5", bytes.subarray(0, 5)))[0]).toBe(412);
    expect((await send(late.replace(/upload_id=.*/, "upload_id=none"), "bytes */*"))[0]).toBe(404);
  });
});

describe("copies", () => {
  test("take several calls when they are large, each with the last one's token", async () => {
    await put("from", seededBytes(2 * 1024 * 1024 + 1));
    const path = `${objectPath("from")}/rewriteTo/b/bucket/o/to`;
    const first = (await ask("POST", path)).json;
    expect([first["done"], first["totalBytesRewritten"]]).toEqual([false, "1048576"]);
    const second = (await ask("POST", `${path}?rewriteToken=${first["rewriteToken"]}`)).json;
    expect((await ask("POST", `${path}2?rewriteToken=${second["rewriteToken"]}`)).status).toBe(400);
    expect((await ask("GET", objectPath("to"))).status).toBe(404);
    expect((await ask("POST", `${path}?rewriteToken=${second["rewriteToken"]}`)).json["done"]).toBe(true);
    expect(server.objects.get("to", undefined).crc32c).toBe(server.objects.get("from", undefined).crc32c);
    expect((await ask("POST", `${objectPath("from")}/copyTo/b/bucket/o/copy?ifSourceGenerationMatch=1`)).status).toBe(412);
    expect((await ask("POST", `${objectPath("from")}/copyTo/b/bucket/o/copy`)).json["size"]).toBe("2097153");
  });

  test("join objects", async () => {
    await put("one", "1");
    await put("two", "22");
    const composed = await ask("POST", `${objectPath("joined")}/compose`, { body: JSON.stringify({ sourceObjects: [{ name: "one" }, { name: "two" }], destination: { contentType: "a/b" } }) });
    expect([composed.json["size"], composed.json["contentType"], composed.json["md5Hash"]]).toEqual(["3", "a/b", undefined]);
    expect((await ask("POST", `${objectPath("joined")}/compose`, { body: JSON.stringify({ sourceObjects: [{ name: "three" }] }) })).status).toBe(404);
  });
});

test("listings are in order of bytes, in pages of names and prefixes together", async () => {
  for (const name of ["l/a", "l/b/1", "l/b/2", "l/b-c", "l/b.d/1", "l/c", "m"]) await put(name);
  const pages: unknown[] = [];
  for (let pageToken = ""; ; ) {
    const { json } = await ask("GET", `/storage/v1/b/bucket/o?prefix=l/&delimiter=/&startOffset=l/b&maxResults=2&fields=nextPageToken,prefixes,items(name)${pageToken === "" ? "" : `&pageToken=${pageToken}`}`);
    pages.push([json["items"] ?? [], json["prefixes"] ?? []]);
    if (json["nextPageToken"] === undefined) break;
    pageToken = String(json["nextPageToken"]);
  }
  expect(pages).toEqual([
    [[{ name: "l/b-c" }], ["l/b.d/"]],
    [[{ name: "l/c" }], ["l/b/"]],
  ]);
});

describe("signed URLs", () => {
  interface Signing {
    readonly method?: string;
    readonly seconds?: number;
    readonly ageMs?: number;
    readonly email?: string;
  }

  /** By the published steps, and not by the driver's own code. */
  function signed(path: string, { method = "GET", seconds = 60, ageMs = 0, email = server.keyFile.client_email }: Signing = {}): string {
    const date = new Date(Date.now() - ageMs).toISOString().replace(/[-:]|\.\d+/g, "");
    const scope = `${date.slice(0, 8)}/auto/storage/goog4_request`;
    const query = `X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=${encodeURIComponent(`${email}/${scope}`)}&X-Goog-Date=${date}&X-Goog-Expires=${seconds}&X-Goog-SignedHeaders=host`;
    const canonical = `${method}\n${path}\n${query}\nhost:${new URL(server.url).host}\n\nhost\nUNSIGNED-PAYLOAD`;
    const toSign = `GOOG4-RSA-SHA256\n${date}\n${scope}\n${createHash("sha256").update(canonical).digest("hex")}`;
    return `${server.url}${path}?${query}&X-Goog-Signature=${sign("RSA-SHA256", Buffer.from(toSign), server.keyFile.private_key).toString("hex")}`;
  }

  test("lead to content while they are good", async () => {
    await put("signed/object", "signed");
    expect(await (await fetch(signed("/bucket/signed/object"))).text()).toBe("signed");
    expect((await fetch(signed("/bucket/signed/object", { method: "HEAD" }), { method: "HEAD" })).headers.get("content-length")).toBe("6");
    expect((await fetch(signed("/bucket/signed/none"))).status).toBe(404);
    for (const [wrong, status] of [
      [signed("/bucket/signed/object", { method: "HEAD" }), 403],
      [signed("/bucket/signed/object", { ageMs: 61_000 }), 400],
      [signed("/bucket/signed/object", { ageMs: -600_000 }), 403],
      [signed("/bucket/signed/object", { seconds: 8 * 24 * 3600 }), 400],
      [signed("/bucket/signed/object", { email: "x@y" }), 403],
      [signed("/bucket/signed/none").replace("none", "object"), 403],
      [`${server.url}/bucket/signed/object`, 403],
    ] as const) {
      expect((await fetch(wrong)).status).toBe(status);
    }
  });
});
