/**
 * The `proxy` option for a request of ours: this host is asked directly, as by programs in Go, everybody else as `HTTP_PROXY`,
 * `HTTPS_PROXY` and `NO_PROXY` say, which Bun's fetch reads by itself.
 */
export function outgoingProxy(url: URL): { readonly proxy?: false } {
  return /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname) ? { proxy: false } : {};
}
