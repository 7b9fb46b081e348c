/** A request that a listener got. */
export interface Heard {
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  readonly body: string;
}

/** A listener on a free port that keeps what it hears and answers as it is told. */
export interface Listener extends AsyncDisposable {
  readonly url: string;
  readonly heard: Heard[];
  /** The ids of the events that were accepted, in order of arrival. */
  ids(): string[];
  /** Resolves when so many requests have been heard. */
  waitFor(count: number): Promise<void>;
}

/** Starts a listener. @param answer Default: 200 for everything. */
export function startListener(answer: (request: Heard, count: number) => Response | Promise<Response> = () => new Response("ok"), port = 0): Listener {
  const heard: Heard[] = [];
  const accepted: string[] = [];
  let wake = Promise.withResolvers<void>();
  const server = Bun.serve({
    port,
    hostname: "127.0.0.1",
    development: false,
    async fetch(request) {
      const entry = { method: request.method, path: new URL(request.url).pathname, headers: request.headers, body: await request.text() };
      heard.push(entry);
      const response = await answer(entry, heard.length);
      if (response.status < 300 && entry.body !== "") accepted.push(...idsOf(entry.body));
      wake.resolve();
      wake = Promise.withResolvers();
      return response;
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    heard,
    ids: () => accepted,
    async waitFor(count) {
      while (heard.length < count) await wake.promise;
    },
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

function idsOf(body: string): string[] {
  const json = JSON.parse(body) as { events?: { id: string }[]; id?: string };
  return json.events?.map(({ id }) => id) ?? [json.id ?? ""];
}
