import { SMTPServer, type SMTPServerOptions } from "smtp-server";

/** A mail as it arrived. */
export interface ReceivedMail {
  readonly from: string;
  readonly to: readonly string[];
  readonly user: string | undefined;
  /** Whether the connection was encrypted. */
  readonly secure: boolean;
  readonly subject: string;
  readonly text: string;
}

/** A mail server on loopback that keeps what it is given. */
export interface MailServer extends AsyncDisposable {
  readonly port: number;
  readonly received: readonly ReceivedMail[];
  /** Resolves when so many mails have come. @throws Error after 10 seconds */
  waitFor(count: number): Promise<readonly ReceivedMail[]>;
}

/** The login that servers with a password take. */
export const LOGIN = { username: "registry", password: "sesame-of-the-mail-server" } as const;

/** How the server is to be. */
export interface MailServerOptions {
  readonly port?: number;
  /** Offers TLS by STARTTLS; from the first byte on with `implicit`. */
  readonly tls?: { readonly certificate: string; readonly key: string; readonly implicit?: boolean };
  readonly login?: boolean;
  /** Refuses mails that hold this. */
  readonly refuses?: string;
}

/** Starts a mail server. */
export async function startMailServer(options: MailServerOptions = {}): Promise<MailServer> {
  const received: ReceivedMail[] = [];
  const server = new SMTPServer({ ...connectionOptions(options), ...handlers(options, received) });
  server.on("error", () => undefined);
  await new Promise<void>((resolve) => void server.listen(options.port ?? 0, "127.0.0.1", resolve));
  const address = server.server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    port,
    received,
    async waitFor(count) {
      const deadline = Date.now() + 10_000;
      while (received.length < count) {
        if (Date.now() > deadline) throw new Error(`${received.length} mails came, expected ${count}`);
        await Bun.sleep(10);
      }
      return received;
    },
    [Symbol.asyncDispose]: async () => await new Promise<void>((resolve) => void server.close(() => resolve())),
  };
}

function connectionOptions({ tls, login }: MailServerOptions): SMTPServerOptions {
  return {
    logger: false,
    secure: tls?.implicit === true,
    disabledCommands: [...(tls === undefined ? ["STARTTLS"] : []), ...(login === true ? [] : ["AUTH"])],
    ...(tls === undefined ? {} : { cert: tls.certificate, key: tls.key }),
    authOptional: login !== true,
    allowInsecureAuth: true,
  };
}

function handlers(options: MailServerOptions, received: ReceivedMail[]): SMTPServerOptions {
  return {
    onAuth(auth, _session, callback) {
      const isKnown = auth.username === LOGIN.username && auth.password === LOGIN.password;
      callback(isKnown ? null : new Error("wrong login"), isKnown ? { user: LOGIN.username } : undefined);
    },
    async onData(stream, session, callback) {
      const chunks: Buffer[] = [];
      for await (const chunk of stream) chunks.push(chunk as Buffer);
      const [head = "", text = ""] = Buffer.concat(chunks).toString().split(/\r\n\r\n(.*)/s);
      if (options.refuses !== undefined && text.includes(options.refuses)) return callback(Object.assign(new Error("not wanted"), { responseCode: 550 }));
      const { mailFrom, rcptTo } = session.envelope;
      received.push({
        from: mailFrom === false ? "" : mailFrom.address,
        to: rcptTo.map((recipient) => recipient.address),
        user: typeof session.user === "string" ? session.user : undefined,
        secure: session.secure,
        subject: /^Subject: (.*(?:\r\n[ \t].*)*)$/im.exec(head)?.[1]?.replace(/\r\n[ \t]/g, " ") ?? "",
        text: text.replaceAll("\r\n", "\n"),
      });
      callback();
    },
  };
}
