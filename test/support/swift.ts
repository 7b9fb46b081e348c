import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Child, startChild } from "./child.ts";
import { runCommand, tryCommand } from "./command.ts";
import { freePort } from "./free-port.ts";
import { createBucket, type S3Server } from "./s3-server.ts";
import { tempFolder } from "./temp-folder.ts";

const START_MS = 60_000;
/** On a machine that is busy half a second to connect is not enough, and who was late once is not asked for a minute: there is no other. */
const PATIENCE = `conn_timeout = 30
node_timeout = 60
`;
const SERVERS = ["object", "container", "account"] as const;

interface Place {
  readonly folder: string;
  readonly user: string;
  readonly ports: { readonly proxy: number; readonly memcached: number } & Readonly<Record<(typeof SERVERS)[number], number>>;
}

/**
 * Starts OpenStack Swift with its S3 interface: one server of each kind, and memcached. Nothing but loopback, nothing outside a folder
 * that goes away with it.
 * @throws Error with its output when it does not come up.
 */
export async function startSwift(): Promise<S3Server> {
  await using cleanup = new AsyncDisposableStack();
  const place: Place = {
    folder: cleanup.use(await tempFolder()).path,
    user: (await runCommand(["id", "-un"])).trim(),
    ports: { proxy: freePort(), object: freePort(), container: freePort(), account: freePort(), memcached: freePort() },
  };
  await mkdir(join(place.folder, "devices/disk"), { recursive: true });
  await Bun.write(join(place.folder, "swift.conf"), SWIFT_CONF);
  await Promise.all(SERVERS.map((kind) => makeRing(place, kind)));
  await Bun.write(join(place.folder, "proxy-server.conf"), proxyConf(place));
  // memcached does not run as root.
  const memcached = ["memcached", "-l", "127.0.0.1", "-p", String(place.ports.memcached), "-U", "0", "-m", "32", ...(place.user === "root" ? ["-u", "nobody"] : [])];
  const children = [memcached, ...[...SERVERS, "proxy"].map((kind) => [`swift-${kind}-server`, join(place.folder, `${kind}-server.conf`), "-v"])].map((command) => cleanup.use(startChild(command)));
  const endpoint = `http://127.0.0.1:${place.ports.proxy}`;
  await untilAnswered(endpoint, children);
  const owned = cleanup.move();
  const server = { endpoint, accessKey: "test:tester", secretKey: "testing", region: "us-east-1" };
  return { ...server, createBucket: (name) => createBucket(server, name), [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function makeRing({ folder, user, ports }: Place, kind: (typeof SERVERS)[number]): Promise<void> {
  await Bun.write(
    join(folder, `${kind}-server.conf`),
    `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${ports[kind]}
workers = 0
user = ${user}
swift_dir = ${folder}
devices = ${join(folder, "devices")}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = WARNING
[pipeline:main]
pipeline = ${kind}-server
[app:${kind}-server]
use = egg:swift#${kind}
${PATIENCE}container_update_timeout = 60
`,
  );
  const builder = join(folder, `${kind}.builder`);
  await runCommand(["swift-ring-builder", builder, "create", "4", "1", "0"]);
  await runCommand(["swift-ring-builder", builder, "add", `r1z1-127.0.0.1:${ports[kind]}/disk`, "1"]);
  // Status 1 is a warning: there is one device.
  const { exitCode, stdout } = await tryCommand(["swift-ring-builder", builder, "rebalance"]);
  if (exitCode > 1) throw new Error(`swift-ring-builder: status ${exitCode}\n${stdout}`);
}

async function untilAnswered(endpoint: string, children: readonly Child[]): Promise<void> {
  const deadline = Date.now() + START_MS;
  for (;;) {
    const answer = await fetch(`${endpoint}/auth/v1.0`, { headers: { "x-auth-user": "test:tester", "x-auth-key": "testing" }, signal: AbortSignal.timeout(5000) }).catch(() => undefined);
    // The first answer of an account is the one that makes it.
    const account = answer?.headers.get("x-storage-url");
    if (answer?.ok === true && account != null && (await fetch(account, { headers: { "x-auth-token": answer.headers.get("x-auth-token") ?? "" } })).ok) return;
    if (Date.now() > deadline) throw new Error(`Swift did not come up:\n${children.map((child) => child.output()).join("")}`);
    await Bun.sleep(100);
  }
}

const SWIFT_CONF = `[swift-hash]
swift_hash_path_prefix = test
swift_hash_path_suffix = test
[storage-policy:0]
name = one
default = yes
`;

function proxyConf({ folder, user, ports }: Place): string {
  return `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${ports.proxy}
workers = 0
user = ${user}
swift_dir = ${folder}
log_level = WARNING
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
${PATIENCE}error_suppression_limit = 1000000
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:${ports.memcached}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
dns_compliant_bucket_names = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
`;
}
