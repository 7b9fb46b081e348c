import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { startCeph } from "../support/ceph.ts";
import { digestOf, pushBlob } from "../support/http.ts";
import { startRegistry } from "../support/registry-process.ts";
import { s3Section, type S3Server } from "../support/s3-server.ts";
import { describeWith } from "../support/services.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

const ROLE = "arn:aws:iam::123456789012:role/registry";
const EXPIRES = new Date(Date.now() + 3_600_000).toISOString();

/** A server that hands out credentials as Amazon's services do: those of containers, of instances, and of web identities. */
function startCredentials({ accessKey, secretKey }: S3Server): { readonly url: string; readonly asked: string[]; stop(): Promise<void> } {
  const asked: string[] = [];
  const json = { AccessKeyId: accessKey, SecretAccessKey: secretKey, Token: "", Expiration: EXPIRES, Code: "Success", Type: "AWS-HMAC", LastUpdated: new Date().toISOString() };
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      asked.push(`${request.method} ${pathname} ${request.headers.get("authorization") ?? ""}`.trim());
      if (pathname === "/container") return Response.json({ ...json, RoleArn: ROLE });
      if (pathname === "/latest/api/token") return new Response("imds-token", { headers: { "x-aws-ec2-metadata-token-ttl-seconds": "21600" } });
      if (pathname === "/latest/meta-data/iam/security-credentials/") return new Response("registry");
      if (pathname === "/latest/meta-data/iam/security-credentials/registry") return Response.json(json);
      if (request.method === "POST") return new Response(assumed(new URLSearchParams(await request.text()), json), { headers: { "content-type": "text/xml" } });
      return new Response(null, { status: 404 });
    },
  });
  return { url: `http://127.0.0.1:${server.port}`, asked, stop: () => server.stop(true) };
}

function assumed(form: URLSearchParams, credentials: { readonly AccessKeyId: string; readonly SecretAccessKey: string }): string {
  const action = form.get("Action") ?? "";
  if (form.get("RoleArn") !== ROLE || form.get("WebIdentityToken") !== "a web identity") return "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>";
  return `<${action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><${action}Result><Credentials><AccessKeyId>${credentials.AccessKeyId}</AccessKeyId><SecretAccessKey>${credentials.SecretAccessKey}</SecretAccessKey><SessionToken></SessionToken><Expiration>${EXPIRES}</Expiration></Credentials></${action}Result></${action}Response>`;
}

describeWith(["ceph"], "without keys in the configuration, the executable has credentials", () => {
  let ceph: S3Server;
  let folder: TempFolder;
  let service: ReturnType<typeof startCredentials>;

  beforeAll(async () => {
    ceph = await startCeph();
    await ceph.createBucket("registry");
    service = startCredentials(ceph);
    folder = await tempFolder();
    await Bun.write(join(folder.path, "credentials"), `[other]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n[registry]\naws_access_key_id = ${ceph.accessKey}\naws_secret_access_key = ${ceph.secretKey}\n`);
    await Bun.write(join(folder.path, "token"), "a web identity");
  });
  afterAll(async () => {
    await folder[Symbol.asyncDispose]();
    await service.stop();
    await ceph[Symbol.asyncDispose]();
  });

  const kinds: readonly (readonly [string, () => Record<string, string>, string])[] = [
    ["of the environment", () => ({ AWS_ACCESS_KEY_ID: ceph.accessKey, AWS_SECRET_ACCESS_KEY: ceph.secretKey }), ""],
    ["of a profile", () => ({ AWS_SHARED_CREDENTIALS_FILE: join(folder.path, "credentials"), AWS_PROFILE: "registry" }), ""],
    ["of its container or pod", () => ({ AWS_CONTAINER_CREDENTIALS_FULL_URI: `${service.url}/container`, AWS_CONTAINER_AUTHORIZATION_TOKEN: "pod" }), "GET /container pod"],
    ["of its machine", () => ({ AWS_EC2_METADATA_SERVICE_ENDPOINT: service.url }), "GET /latest/meta-data/iam/security-credentials/registry"],
    ["of a web identity", () => ({ AWS_WEB_IDENTITY_TOKEN_FILE: join(folder.path, "token"), AWS_ROLE_ARN: ROLE, AWS_ENDPOINT_URL_STS: service.url }), "POST /"],
  ];

  test.each(kinds)("%s", async (_what, env, asked) => {
    const storage = { filesystem: undefined, s3: s3Section(ceph, "registry", { accesskey: undefined, secretkey: undefined }) };
    await using registry = await startRegistry({ config: { storage }, env: { HOME: folder.path, AWS_REGION: "us-east-1", ...env() } });
    const content = `pushed ${_what}`;
    expect(await pushBlob({ url: registry.url, name: "credentials" }, content)).toBe(digestOf(content));
    if (asked !== "") expect(service.asked).toContain(asked);
  });
});
