import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { digestOf, expectStatus, pushBlob, type Repository, seededBytes, startUpload, uploadLocation, withQuery } from "../support/http.ts";
import { HTTP_SECRET, type RegistryProcess, startRegistry } from "../support/registry-process.ts";

let registry: RegistryProcess;
let repository: Repository;
beforeAll(async () => {
  registry = await startRegistry();
  repository = { url: registry.url, name: "team/uploads" };
});
afterAll(async () => await registry[Symbol.asyncDispose]());

const OCTETS = { "content-type": "application/octet-stream" };

async function blobBytes(digest: string, name = repository.name): Promise<Uint8Array> {
  const response = await expectStatus(200, `${registry.url}/v2/${name}/blobs/${digest}`);
  return await response.bytes();
}

async function errorOf(response: Response): Promise<{ readonly status: number; readonly code: string; readonly detail: unknown }> {
  const body = (await response.json()) as { errors: { code: string; detail?: unknown }[] };
  return { status: response.status, code: body.errors[0]?.code ?? "", detail: body.errors[0]?.detail };
}

async function patch(location: string, content: Uint8Array | ReadableStream, headers: Record<string, string> = {}): Promise<Response> {
  return await fetch(location, { method: "PATCH", body: content as NonNullable<RequestInit["body"]>, headers: { ...OCTETS, ...headers } });
}

describe("starting an upload", () => {
  test("answers 202 with everything a client needs", async () => {
    const response = await expectStatus(202, `${registry.url}/v2/${repository.name}/blobs/uploads/`, { method: "POST" });
    expect(response.headers.get("range")).toBe("0-0");
    expect(response.headers.get("content-length")).toBe("0");
    const id = response.headers.get("docker-upload-uuid") ?? "";
    expect(response.headers.get("location")).toStartWith(`${registry.url}/v2/${repository.name}/blobs/uploads/${id}?_state=`);
    expect(response.headers.get("docker-distribution-api-version")).toBe("registry/2.0");
  });

  test("with a digest and a body stores the blob at once", async () => {
    for (const algorithm of ["sha256", "sha512"] as const) {
      const content = seededBytes(5000, 3);
      const digest = digestOf(content, algorithm);
      const response = await expectStatus(201, `${registry.url}/v2/${repository.name}/blobs/uploads/?digest=${digest}`, { method: "POST", body: content, headers: OCTETS });
      expect(response.headers.get("docker-content-digest")).toBe(digest);
      expect(response.headers.get("location")).toBe(`${registry.url}/v2/${repository.name}/blobs/${digest}`);
      expect(await blobBytes(digest)).toEqual(content);
    }
  });

  test("with a digest that the body does not have keeps nothing", async () => {
    const wrong = digestOf("something else entirely");
    const response = await fetch(`${registry.url}/v2/${repository.name}/blobs/uploads/?digest=${wrong}`, { method: "POST", body: "text", headers: OCTETS });
    expect(await errorOf(response)).toMatchObject({ status: 400, code: "DIGEST_INVALID" });
    await expectStatus(404, `${registry.url}/v2/${repository.name}/blobs/${wrong}`);
  });

  test("with a digest and nothing else is a plain start", async () => {
    await expectStatus(202, `${registry.url}/v2/${repository.name}/blobs/uploads/?digest=${digestOf("later")}`, { method: "POST" });
  });

  test("with a digest in a form is a plain start", async () => {
    await expectStatus(202, `${registry.url}/v2/${repository.name}/blobs/uploads/`, { method: "POST", body: new URLSearchParams({ digest: digestOf("later") }) });
  });
});

describe("a whole blob by POST and PUT", () => {
  for (const algorithm of ["sha256", "sha384", "sha512"] as const) {
    test(algorithm, async () => {
      const content = seededBytes(300_000, 5);
      const digest = await pushBlob(repository, content, algorithm);
      expect(await blobBytes(digest)).toEqual(content);
    });
  }

  test("empty", async () => {
    const digest = await pushBlob(repository, "");
    const response = await expectStatus(200, `${registry.url}/v2/${repository.name}/blobs/${digest}`);
    expect(response.headers.get("content-length")).toBe("0");
  });

  test("again, when it is there already", async () => {
    expect(await pushBlob(repository, "twice")).toBe(await pushBlob(repository, "twice"));
  });

  test("more than Bun's default body limit", async () => {
    const size = 130 * 1024 * 1024;
    const block = seededBytes(1024 * 1024, 7);
    const hash = new Bun.CryptoHasher("sha256");
    for (let i = 0; i < size / block.length; i++) hash.update(block);
    const digest = `sha256:${hash.digest("hex")}`;
    let left = size / block.length;
    const body = new ReadableStream({ pull: (controller) => (left-- > 0 ? controller.enqueue(block) : controller.close()) });
    await expectStatus(201, withQuery(await startUpload(repository), { digest }), { method: "PUT", body, headers: OCTETS });
    const head = await expectStatus(200, `${registry.url}/v2/${repository.name}/blobs/${digest}`, { method: "HEAD" });
    expect(head.headers.get("content-length")).toBe(String(size));
  }, 60_000);

  test("a wrong digest is refused, and the digest stays unknown", async () => {
    const wrong = digestOf("other bytes");
    const response = await fetch(withQuery(await startUpload(repository), { digest: wrong }), { method: "PUT", body: "bytes", headers: OCTETS });
    expect(await errorOf(response)).toMatchObject({ status: 400, code: "DIGEST_INVALID" });
    await expectStatus(404, `${registry.url}/v2/${repository.name}/blobs/${wrong}`);
  });

  test("a missing or malformed digest is refused and the upload survives", async () => {
    const location = await startUpload(repository);
    expect(await errorOf(await fetch(location, { method: "PUT" }))).toMatchObject({ status: 400, code: "DIGEST_INVALID", detail: "digest missing" });
    expect(await errorOf(await fetch(withQuery(location, { digest: "sha256:zz" }), { method: "PUT" }))).toMatchObject({ status: 400, code: "DIGEST_INVALID" });
    await expectStatus(204, location);
  });
});

describe("a blob in chunks", () => {
  test("with ranges, the last bytes in the PUT", async () => {
    const content = seededBytes(10_000, 11);
    let location = await startUpload(repository);
    let response = await patch(location, content.subarray(0, 4000), { "content-range": "0-3999" });
    expect(response.status).toBe(202);
    expect(response.headers.get("range")).toBe("0-3999");
    location = uploadLocation(repository, response);
    response = await patch(location, content.subarray(4000, 8000), { "content-range": "bytes 4000-7999/10000" });
    expect(response.headers.get("range")).toBe("0-7999");
    location = uploadLocation(repository, response);
    const digest = digestOf(content);
    await expectStatus(201, withQuery(location, { digest }), { method: "PUT", body: content.subarray(8000), headers: { ...OCTETS, "content-range": "8000-9999" } });
    expect(await blobBytes(digest)).toEqual(content);
  });

  test("out of order: 416, the session goes on", async () => {
    const location = await startUpload(repository);
    const first = await patch(location, seededBytes(100), { "content-range": "0-99" });
    const second = await patch(uploadLocation(repository, first), seededBytes(100), { "content-range": "200-299" });
    expect(second.status).toBe(416);
    const status = await expectStatus(204, uploadLocation(repository, first));
    expect(status.headers.get("range")).toBe("0-99");
    const finished = seededBytes(100);
    await expectStatus(201, withQuery(uploadLocation(repository, status), { digest: digestOf(finished) }), { method: "PUT" });
  });

  test("a stale location: 416, the bytes stay", async () => {
    const location = await startUpload(repository);
    await patch(location, seededBytes(10));
    expect((await patch(location, seededBytes(10))).status).toBe(416);
    expect((await expectStatus(204, location)).headers.get("range")).toBe("0-9");
  });

  test("a length that is not the range's is refused before a byte is taken", async () => {
    const location = await startUpload(repository);
    expect(await errorOf(await patch(location, seededBytes(10), { "content-range": "0-4" }))).toMatchObject({ status: 400, code: "SIZE_INVALID" });
    expect((await expectStatus(204, location)).headers.get("range")).toBe("0-0");
  });

  test("streamed without length, also nothing at all", async () => {
    const content = seededBytes(700_000, 13);
    let response = await patch(await startUpload(repository), new Blob([content]).stream());
    expect(response.status).toBe(202);
    response = await patch(uploadLocation(repository, response), new Blob([]).stream());
    expect(response.status).toBe(202);
    const digest = digestOf(content, "sha512");
    const end = await expectStatus(201, withQuery(uploadLocation(repository, response), { digest }), { method: "PUT" });
    expect(end.headers.get("docker-content-digest")).toBe(digest);
    expect(await blobBytes(digest)).toEqual(content);
  });

  test("cancelled is gone", async () => {
    const location = await startUpload(repository);
    await expectStatus(204, location, { method: "DELETE" });
    expect(await errorOf(await fetch(location))).toMatchObject({ status: 404, code: "BLOB_UPLOAD_UNKNOWN" });
    await expectStatus(404, location, { method: "DELETE" });
  });
});

describe("the state of an upload", () => {
  test("tampered with is 400 and changes nothing", async () => {
    const location = new URL(await startUpload(repository));
    const state = location.searchParams.get("_state") ?? "";
    for (const forged of ["", "AAAA", `${state.slice(0, 20)}${state[20] === "A" ? "B" : "A"}${state.slice(21)}`]) {
      const target = withQuery(location.href, { _state: forged });
      expect(await errorOf(await patch(target, seededBytes(5)))).toMatchObject({ status: 400, code: "BLOB_UPLOAD_INVALID" });
    }
    expect((await expectStatus(204, location.href)).headers.get("range")).toBe("0-0");
  });

  test("of another upload is refused", async () => {
    const one = new URL(await startUpload(repository));
    const two = new URL(await startUpload(repository));
    two.searchParams.set("_state", one.searchParams.get("_state") ?? "");
    expect((await patch(two.href, seededBytes(5))).status).toBe(400);
  });

  test("is not needed to ask how far it is", async () => {
    const location = new URL(await startUpload(repository));
    await expectStatus(204, `${location.origin}${location.pathname}`);
  });
});

describe("two writers on one upload", () => {
  test("one wins, the other is told, and the upload is whole", async () => {
    const location = await startUpload(repository);
    const content = seededBytes(2_000_000, 17);
    const answers = await Promise.all([patch(location, content), patch(location, content)]);
    expect(answers.map((answer) => answer.status).sort()).toEqual([202, 416]);
    const digest = digestOf(content);
    const winner = answers.find((answer) => answer.status === 202);
    await expectStatus(201, withQuery(winner === undefined ? location : uploadLocation(repository, winner), { digest }), { method: "PUT" });
    expect(await blobBytes(digest)).toEqual(content);
  });
});

describe("a client that vanishes", () => {
  test("finds the bytes that arrived and goes on", async () => {
    const content = seededBytes(1_000_000, 19);
    const location = await startUpload(repository);
    const abort = new AbortController();
    let sent = false;
    const body = new ReadableStream({
      async pull(controller) {
        if (sent) {
          await Bun.sleep(300);
          abort.abort();
          return;
        }
        sent = true;
        controller.enqueue(content.subarray(0, 600_000));
      },
    });
    await fetch(location, { method: "PATCH", body, headers: OCTETS, signal: abort.signal }).catch(() => undefined);
    let status = await expectStatus(204, location);
    for (let i = 0; i < 50 && status.headers.get("range") !== "0-599999"; i++) {
      await Bun.sleep(50);
      status = await expectStatus(204, location);
    }
    expect(status.headers.get("range")).toBe("0-599999");
    const rest = await patch(uploadLocation(repository, status), content.subarray(600_000));
    const digest = digestOf(content);
    await expectStatus(201, withQuery(uploadLocation(repository, rest), { digest }), { method: "PUT" });
    expect(await blobBytes(digest)).toEqual(content);
  });
});

describe("a restart in the middle", () => {
  test("the running hash is rebuilt from what is stored", async () => {
    const content = seededBytes(900_000, 23);
    const name = "team/restart";
    await using first = await startRegistry({ config: { http: { secret: HTTP_SECRET } } });
    const response = await patch(await startUpload({ url: first.url, name }), content.subarray(0, 500_000));
    const location = new URL(uploadLocation({ url: first.url, name }, response));
    await first.child.stop("SIGKILL");
    await using second = await startRegistry({ storageFolder: first.storageFolder });
    location.port = String(second.port);
    const digest = digestOf(content);
    await expectStatus(201, withQuery(location.href, { digest }), { method: "PUT", body: content.subarray(500_000), headers: OCTETS });
    const stored = await expectStatus(200, `${second.url}/v2/${name}/blobs/${digest}`);
    expect(await stored.bytes()).toEqual(content);
  });
});

describe("mounting", () => {
  test("from a named repository", async () => {
    const digest = await pushBlob(repository, "mounted");
    const response = await expectStatus(201, `${registry.url}/v2/team/target/blobs/uploads/?mount=${digest}&from=${repository.name}`, { method: "POST" });
    expect(response.headers.get("location")).toBe(`${registry.url}/v2/team/target/blobs/${digest}`);
    expect(await blobBytes(digest, "team/target")).toEqual(new TextEncoder().encode("mounted"));
  });

  test("without a source, from wherever it is readable", async () => {
    const holder = { url: registry.url, name: "team/holder" };
    const digest = await pushBlob(holder, "anonymous mount");
    // The catalog knows repositories by their manifests.
    const manifest = JSON.stringify({ schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config: { mediaType: "application/vnd.oci.empty.v1+json", digest, size: 15 }, layers: [] });
    await expectStatus(201, `${registry.url}/v2/${holder.name}/manifests/x`, { method: "PUT", body: manifest, headers: { "content-type": "application/vnd.oci.image.manifest.v1+json" } });
    await expectStatus(201, `${registry.url}/v2/team/anonymous/blobs/uploads/?mount=${digest}`, { method: "POST" });
    expect(await blobBytes(digest, "team/anonymous")).toEqual(new TextEncoder().encode("anonymous mount"));
  });

  test("what is not there begins an upload that works", async () => {
    for (const query of [`mount=${digestOf("nowhere")}&from=${repository.name}`, `mount=${digestOf("nowhere")}`, "mount=junk&from=a", `mount=${digestOf("x")}&from=%21`]) {
      const response = await expectStatus(202, `${registry.url}/v2/team/other/blobs/uploads/?${query}`, { method: "POST" });
      const content = seededBytes(10, 29);
      await expectStatus(201, withQuery(uploadLocation(repository, response), { digest: digestOf(content) }), { method: "PUT", body: content, headers: OCTETS });
    }
  });
});
