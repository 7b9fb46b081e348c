import { LruMap } from "../lib/lru.ts";
import { RegistryError } from "../oci/errors.ts";
import { parseName, type RepositoryName } from "../oci/name.ts";
import { matchesAny } from "./globs.ts";
import type { Upstream } from "./upstream.ts";

const MAX_REMEMBERED = 10_000;
const DOCKER_HUB_HOSTS = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/** An upstream with the rules for what is mirrored from it. */
export interface Remote {
  /** Local repositories below this name are mirrored; undefined for the upstream of everything that no other one takes. */
  readonly prefix: string | undefined;
  readonly upstream: Upstream;
  /** Values of `?ns=` that mean this upstream, besides its prefix and its host. */
  readonly namespaces: readonly string[];
  /** Over the upstream's names; everything when empty. */
  readonly allow: readonly RegExp[];
  readonly deny: readonly RegExp[];
  /** How long what nobody asks for is kept; 0 for ever. */
  readonly ttlMs: number;
  /** How long a tag is believed before upstream is asked again. */
  readonly tagTtlMs: number;
}

/** A repository that is mirrored. */
export interface MirrorRoute {
  readonly kind: "mirror";
  readonly remote: Remote;
  /** Where it is kept. */
  readonly repository: RepositoryName;
  /** What upstream calls it. */
  readonly upstreamName: string;
}

/** Whose a repository is: ours, or an upstream's; never both. */
export type Route = { readonly kind: "local" } | MirrorRoute;

/** Which repositories are mirrored from where. */
export class Routes {
  readonly #remotes: readonly Remote[];
  readonly #local: readonly RegExp[];
  readonly #known = new LruMap<RepositoryName, Route>(MAX_REMEMBERED);

  /** @param local Repositories that are ours, unless they are below a remote's prefix. */
  constructor(remotes: readonly Remote[], local: readonly RegExp[]) {
    // The longest prefix decides; the remote without one comes last.
    this.#remotes = [...remotes].sort((a, b) => (b.prefix ?? "").length - (a.prefix ?? "").length);
    this.#local = local;
  }

  /** @throws RegistryError DENIED when the rules keep it from being mirrored, NAME_UNKNOWN when it belongs nowhere. */
  route(name: RepositoryName): Route {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const route = this.#find(name);
    this.#known.set(name, route);
    return route;
  }

  /**
   * The repository that a client means who asks for `name` in an upstream's name space, as containerd's mirrors do (`?ns=ghcr.io`).
   * With a single upstream for everything the name space is not looked at, as in distribution.
   * @throws RegistryError NAME_UNKNOWN for a name space that is not mirrored here: another upstream's repository of that name is not it.
   */
  resolveNamespace(namespace: string, name: RepositoryName): RepositoryName {
    const remote = this.#remotes.find((each) => isNamespaceOf(namespace, each));
    if (remote !== undefined) return remote.prefix === undefined ? name : parseName(`${remote.prefix}/${name}`);
    if (this.#remotes.every(({ prefix }) => prefix === undefined)) return name;
    throw new RegistryError("NAME_UNKNOWN", { detail: { name, namespace } });
  }

  #find(name: RepositoryName): Route {
    const prefixed = this.#remotes.find(({ prefix }) => prefix !== undefined && name.startsWith(`${prefix}/`));
    if (prefixed !== undefined) return mirrored(prefixed, name);
    if (matchesAny(this.#local, name)) return { kind: "local" };
    const rest = this.#remotes.find(({ prefix }) => prefix === undefined);
    if (rest === undefined) throw new RegistryError("NAME_UNKNOWN", { detail: { name } });
    return mirrored(rest, name);
  }
}

function mirrored(remote: Remote, name: RepositoryName): MirrorRoute {
  const asked = remote.prefix === undefined ? name : name.slice(remote.prefix.length + 1);
  // Docker Hub keeps its official images below `library/`; clients other than docker do not add it for a mirror.
  const upstreamName = isDockerHub(remote) && !asked.includes("/") ? `library/${asked}` : asked;
  if (matchesAny(remote.deny, upstreamName) || (remote.allow.length > 0 && !matchesAny(remote.allow, upstreamName))) {
    throw new RegistryError("DENIED", { message: "the repository is not mirrored here", detail: { name } });
  }
  const repository = remote.prefix === undefined ? upstreamName : `${remote.prefix}/${upstreamName}`;
  return { kind: "mirror", remote, repository: parseName(repository), upstreamName };
}

function isNamespaceOf(namespace: string, remote: Remote): boolean {
  if (namespace === remote.prefix || namespace === remote.upstream.host || remote.namespaces.includes(namespace)) return true;
  return isDockerHub(remote) && DOCKER_HUB_HOSTS.includes(namespace);
}

function isDockerHub(remote: Remote): boolean {
  return DOCKER_HUB_HOSTS.includes(remote.upstream.host);
}
