import { listen, parseAddress } from "../listen.ts";
import { pathOf } from "../request-path.ts";
import type { ChallengeAnswerer } from "./order.ts";

const PATH = "/.well-known/acme-challenge/";

/** Answers HTTP-01 challenges for as long as it is not disposed of. */
export type ChallengeListener = ChallengeAnswerer & AsyncDisposable;

/**
 * Listens for HTTP-01 challenges.
 * @param address `http.tls.letsencrypt.httpaddr`.
 * @throws Error that names the key and what can be done
 * @see RFC 8555, section 8.3
 */
export async function listenForChallenges(address: string): Promise<ChallengeListener> {
  const answers = new Map<string, string>();
  try {
    const listener = await listen({
      address: parseAddress(address),
      tls: undefined,
      http2: false,
      idleTimeoutSeconds: 10,
      handle: async (request) => answer(pathOf(request.url), answers),
      failed: () => new Response("cannot answer\n", { status: 500 }),
    });
    return {
      type: "http-01",
      add: async ({ token, keyAuthorization }) => void answers.set(token, keyAuthorization),
      [Symbol.asyncDispose]: async () => await listener.stop(false),
    };
  } catch (error) {
    throw new Error(
      `http.tls.letsencrypt.httpaddr: ${error instanceof Error ? error.message : String(error)}; the certificate authority asks port 80 of every host: let the registry listen there (CAP_NET_BIND_SERVICE), or forward /.well-known/acme-challenge/ from there to another address and set it here`,
      { cause: error },
    );
  }
}

function answer(path: string, answers: ReadonlyMap<string, string>): Response {
  const text = path.startsWith(PATH) ? answers.get(path.slice(PATH.length)) : undefined;
  return text === undefined ? new Response("not found\n", { status: 404 }) : new Response(text, { headers: { "content-type": "application/octet-stream" } });
}
