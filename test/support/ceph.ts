import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { makeCertificate } from "./certificates.ts";
import { startChild } from "./child.ts";
import { runCommand } from "./command.ts";
import { freePort } from "./free-port.ts";
import { createBucket, type S3Server } from "./s3-server.ts";
import { tempFolder } from "./temp-folder.ts";

const ACCESS_KEY = "test";
const SECRET_KEY = "testsecret";
const START_MS = 60_000;

/** Ceph, over plain HTTP and over TLS. */
export interface CephServer extends S3Server {
  /** For instance `https://127.0.0.1:41235`. */
  readonly secureEndpoint: string;
  /** PEM file of the authority that the certificate of that comes from. */
  readonly authorityFile: string;
}

/**
 * Starts Ceph with its S3 gateway: one monitor, one daemon that keeps objects in memory, one `radosgw`. Nothing but loopback, nothing
 * outside a folder that goes away with it.
 * @throws Error with its output when it does not come up.
 */
export async function startCeph(): Promise<CephServer> {
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await tempFolder()).path;
  const [port, securePort, monitorPort] = [freePort(), freePort(), freePort()];
  const fsid = crypto.randomUUID();
  const conf = join(folder, "ceph.conf");
  for (const name of ["mon", "osd", "rgw"]) await mkdir(join(folder, name));
  await Bun.write(conf, cephConf({ folder, fsid, port, securePort, monitorPort }));
  const authorityFile = await writeCertificates(folder);
  const ceph = async (command: string, ...args: readonly string[]): Promise<string> => await runCommand([command, "--conf", conf, ...args]);

  const monmap = join(folder, "monmap");
  await ceph("monmaptool", "--create", "--clobber", "--addv", "a", `[v1:127.0.0.1:${monitorPort}]`, "--fsid", fsid, monmap);
  await ceph("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap);
  cleanup.use(startChild(["ceph-mon", "--conf", conf, "-f", "-i", "a"]));
  const storageId = crypto.randomUUID();
  // On a busy machine the monitor refuses commands, now and then, for as long as it elects itself.
  await untilDone(() => ceph("ceph", "osd", "new", storageId));
  // By itself the daemon would do this before it knows the cluster well enough, now and then, and end.
  await untilDone(() => ceph("ceph", "osd", "crush", "add", "osd.0", "1", "root=default", "host=localhost"));
  await ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", storageId);
  const storage = cleanup.use(startChild(["ceph-osd", "--conf", conf, "-f", "-i", "0"]));
  const gateway = cleanup.use(startChild(["radosgw", "--conf", conf, "-f", "-n", "client.rgw"]));
  const endpoint = `http://127.0.0.1:${port}`;
  await untilAnswered(endpoint, () => `${storage.output()}${gateway.output()}`);
  await ceph("radosgw-admin", "user", "create", "--uid=test", "--display-name=test", `--access-key=${ACCESS_KEY}`, `--secret-key=${SECRET_KEY}`);
  const owned = cleanup.move();
  const server = { endpoint, accessKey: ACCESS_KEY, secretKey: SECRET_KEY, region: "us-east-1" };
  return { ...server, secureEndpoint: `https://127.0.0.1:${securePort}`, authorityFile, createBucket: (name) => createBucket(server, name), [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function writeCertificates(folder: string): Promise<string> {
  const authority = await makeCertificate("authority", { isAuthority: true });
  const { certificate, key } = await makeCertificate("localhost", { issuer: authority });
  await Bun.write(join(folder, "authority.pem"), authority.certificate);
  await Bun.write(join(folder, "certificate.pem"), certificate);
  await Bun.write(join(folder, "key.pem"), key);
  return join(folder, "authority.pem");
}

async function untilDone(work: () => Promise<unknown>): Promise<void> {
  const deadline = Date.now() + START_MS;
  for (;;) {
    const error = await work().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (error === undefined) return;
    if (Date.now() > deadline) throw error;
    await Bun.sleep(100);
  }
}

async function untilAnswered(url: string, output: () => string): Promise<void> {
  const deadline = Date.now() + START_MS;
  for (;;) {
    const answer = await fetch(url, { signal: AbortSignal.timeout(5000) }).catch(() => undefined);
    if (answer?.ok === true) return;
    if (Date.now() > deadline) throw new Error(`Ceph did not come up:\n${output()}`);
    await Bun.sleep(100);
  }
}

interface CephPlan {
  readonly folder: string;
  readonly fsid: string;
  readonly port: number;
  readonly securePort: number;
  readonly monitorPort: number;
}

function cephConf({ folder, fsid, port, securePort, monitorPort }: CephPlan): string {
  return `[global]
fsid = ${fsid}
mon initial members = a
mon host = v1:127.0.0.1:${monitorPort}
auth cluster required = none
auth service required = none
auth client required = none
auth supported = none
auth allow insecure global id reclaim = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv4 = true
ms bind msgr2 = false
ms learn addr from peer = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd crush update on start = false
osd class update on start = false
paxos propose interval = 0.02
paxos min wait = 0.01
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
run dir = ${folder}
admin socket = ${folder}/$name.asok
pid file = ${folder}/$name.pid
log file = ${folder}/$name.log
[mon.a]
mon data = ${folder}/mon
[osd.0]
osd data = ${folder}/osd
osd objectstore = memstore
memstore device bytes = 8589934592
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:${port} ssl_endpoint=127.0.0.1:${securePort} ssl_certificate=${folder}/certificate.pem ssl_private_key=${folder}/key.pem tcp_nodelay=1
rgw data = ${folder}/rgw
rgw enable usage log = false
rgw gc obj min wait = 2
rgw gc processor period = 2
rgw gc processor max time = 2
rgw override bucket index max shards = 1
`;
}
