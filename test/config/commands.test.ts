import { expect, test } from "bun:test";
import { join } from "node:path";
import { tryCommand } from "../support/command.ts";
import { registryCommand } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";

const CONFIG = join(import.meta.dir, "../../config");

test("registry config-schema prints all of a JSON Schema, also into a pipe that is read late", async () => {
  const command = registryCommand().map((word) => `'${word}'`).join(" ");
  const { stdout } = await tryCommand(["sh", "-c", `${command} config-schema | (sleep 1; cat)`]);
  const schema = JSON.parse(stdout) as { $schema: string; required: string[]; properties: { http: { properties: { tls: { properties: { clientauth: { enum: string[] } } } } } } };
  expect(schema.$schema).toBe("https://json-schema.org/draft/2020-12/schema");
  expect(schema.required).toEqual(["version", "storage"]);
  expect(schema.properties.http.properties.tls.properties.clientauth.enum).toContain("request-client-cert");
});

test("registry config-check prints what takes effect and where it is from, without secrets", async () => {
  const { exitCode, stdout } = await tryCommand([...registryCommand(), "config-check", join(CONFIG, "logging.yml")], { env: { REGISTRY_HTTP_ADDR: ":6000", REGISTRY_LOG_HOOKS_0_MAILOPTIONS_FROM: "by@variable" } });
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^ +addr: ":?6000"? # REGISTRY_HTTP_ADDR$|^ +addr: :6000 # REGISTRY_HTTP_ADDR$/m);
  expect(stdout).toMatch(/^ +from: by@variable # REGISTRY_LOG_HOOKS_0_MAILOPTIONS_FROM$/m);
  expect(stdout).toMatch(/^ +password: <hidden> # \S+logging\.yml:\d+$/m);
  expect(stdout).toMatch(/^ +relativeurls: false # default$/m);
  expect(stdout).not.toContain("from the mail server");
});

test("registry config-check names every problem with file, line, column and key, and ends with status 1", async () => {
  await using folder = await tempFolder();
  const file = join(folder.path, "c.yml");
  await Bun.write(file, "version: 0.1\nstorage: inmemory\nhttp:\n  adr: :5000\n  net: udp\n");
  const { exitCode, stdout, stderr } = await tryCommand([...registryCommand(), "config-check", file], { env: { REGISTRY_HTTP_FOO: "secret value" } });
  expect(exitCode).toBe(1);
  expect(stdout).toBe("");
  expect(stderr).toContain(`${file}:4:3: http.adr: unknown key; did you mean addr?`);
  expect(stderr).toContain(`${file}:5:3: http.net: found "udp", unknown address type, expected tcp or unix`);
  expect(stderr).toContain("Ignoring unrecognized environment variable REGISTRY_HTTP_FOO");
  expect(stderr).not.toContain("secret value");
});
