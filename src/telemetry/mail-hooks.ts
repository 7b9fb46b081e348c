import type { Clock } from "../lib/clock.ts";
import type { LogFields, LogLevel } from "./log.ts";
import type { LogLine, RootLogger } from "./logger.ts";
import type { HookOptions } from "./options.ts";

/** Takes mails to a mail server. */
export interface MailTransport {
  /** @throws Error when the server cannot be reached or does not take the mail; `responseCode` is its answer's. */
  send(mail: Mail): Promise<void>;
}

/** One mail. */
export interface Mail {
  readonly from: string;
  readonly to: readonly string[];
  readonly subject: string;
  readonly text: string;
}

/** What hooks need of the program. */
export interface MailHookParts {
  readonly log: RootLogger;
  readonly clock: Clock;
  /** Opens the way to a hook's mail server; default: SMTP. */
  readonly openTransport?: (smtp: SmtpOptions) => MailTransport;
}

/** `log.hooks[].options.smtp`, parsed. */
export type SmtpOptions = HookOptions["options"]["smtp"];

/** Lines that wait for a mail server; beyond them lines are not mailed, and counted. */
const MAX_WAITING = 100;
/** A mail server that cannot be reached is tried again after this. */
const RETRY_MS = 30_000;
const TIMEOUT_MS = 10_000;
const MAX_TEXT_CHARACTERS = 64 * 1024;

/** Mails lines of the log, as `log.hooks` says. Nothing waits for it: what cannot be sent waits here, up to a bound. */
export class MailHooks {
  readonly #hooks: readonly MailHook[];

  /** Begins to listen to the log; hooks of other types than mail and those that are disabled are left out. */
  constructor(options: readonly HookOptions[], parts: MailHookParts) {
    // What hooks say of their own troubles is mailed by none of them.
    const quiet = { isLogging: false };
    const isActive = (hook: HookOptions): boolean => !hook.disabled;
    for (const { type } of options.filter(isActive)) if (type !== "mail") parts.log.warn("there are no log hooks of this type: it is left out", { type });
    this.#hooks = options.filter((hook) => hook.type === "mail" && isActive(hook)).map((hook) => new MailHook(hook, { ...parts, quiet }));
  }

  /** Sends what waits, but not for longer than this. What cannot be sent is lost, and said so in the log. */
  async close(timeoutMs: number): Promise<void> {
    await Promise.all(this.#hooks.map(async (hook) => await hook.close(timeoutMs)));
  }
}

interface HookParts extends MailHookParts {
  readonly quiet: { isLogging: boolean };
}

class MailHook {
  readonly #options: HookOptions;
  readonly #parts: HookParts;
  readonly #transport: MailTransport;
  readonly #closing = new AbortController();
  readonly #gaveUp = new AbortController();
  readonly #waiting: Mail[] = [];
  #dropped = 0;
  #isFailing = false;
  #sending: Promise<void> | undefined;

  constructor(options: HookOptions, parts: HookParts) {
    this.#options = options;
    this.#parts = parts;
    this.#transport = (parts.openTransport ?? smtpTransport)(options.options.smtp);
    parts.log.listen(levelsOf(options.levels), (line) => this.#take(line));
  }

  async close(timeoutMs: number): Promise<void> {
    this.#closing.abort();
    const done = new AbortController();
    await Promise.race([this.#sending, this.#parts.clock.sleep(timeoutMs, done.signal)]);
    done.abort();
    this.#gaveUp.abort();
    const lost = this.#waiting.length + this.#dropped;
    if (lost > 0) this.#say("error", "log lines were not mailed", { lost });
  }

  #take(line: LogLine): void {
    if (this.#parts.quiet.isLogging || this.#closing.signal.aborted) return;
    if (this.#waiting.length >= MAX_WAITING) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(mailOf(line, this.#options.options, this.#dropped));
    this.#dropped = 0;
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
  }

  // What waits when the program ends gets one more try each, as long as the server answers.
  async #sendAll(): Promise<void> {
    for (let mail = this.#waiting[0]; mail !== undefined && !this.#gaveUp.signal.aborted; mail = this.#waiting[0]) {
      const error = await this.#trySend(mail);
      this.#note(error);
      if (error === undefined || isRefusal(error)) this.#waiting.shift();
      else if (this.#closing.signal.aborted) return;
      else await this.#parts.clock.sleep(RETRY_MS, this.#closing.signal);
    }
  }

  async #trySend(mail: Mail): Promise<Error | undefined> {
    try {
      await this.#transport.send(mail);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  #note(error: Error | undefined): void {
    const isFailing = error !== undefined;
    if (isFailing === this.#isFailing) return;
    this.#isFailing = isFailing;
    if (error === undefined) this.#say("info", "log lines are mailed again", {});
    else this.#say("error", "log lines cannot be mailed", { "err.message": error.message });
  }

  #say(level: "error" | "info", message: string, fields: LogFields): void {
    const { log, quiet } = this.#parts;
    quiet.isLogging = true;
    try {
      log[level](message, { "smtp.addr": this.#options.options.smtp.addr, ...fields });
    } finally {
      quiet.isLogging = false;
    }
  }
}

// Logrus has more levels; of ours, `error` is the most important.
function levelsOf(names: readonly string[]): ReadonlySet<LogLevel> {
  const levels = new Set<LogLevel>();
  for (const name of names) {
    if (name === "warning") levels.add("warn");
    else if (name === "error" || name === "warn" || name === "info" || name === "debug") levels.add(name);
  }
  return levels;
}

function mailOf(line: LogLine, options: HookOptions["options"], dropped: number): Mail {
  const { host } = serverOf(options.smtp.addr);
  const fields = Object.entries(line.fields).map(([key, value]) => `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
  const before = dropped === 0 ? [] : ["", `${dropped} lines before this one were not mailed: there were too many.`];
  return {
    from: options.from === "" ? (options.to[0] ?? "") : options.from,
    to: options.to,
    subject: `[${line.level}] ${host}: ${line.message}`,
    text: [line.message, "", ...fields.sort(), ...before, ""].join("\n").slice(0, MAX_TEXT_CHARACTERS),
  };
}

/** Whether the server does not want this mail, now or later. */
function isRefusal(error: Error): boolean {
  return "responseCode" in error && typeof error.responseCode === "number" && error.responseCode >= 500;
}

interface MailServer {
  readonly host: string;
  readonly port: number;
  /** TLS from the first byte on. */
  readonly secure: boolean;
}

const SUBMISSIONS_PORT = 465;

function serverOf(address: string): MailServer {
  const [, scheme = "", host = "", port = ""] = /^(?:(smtps?):\/\/)?(.*):(\d+)$/.exec(address) ?? [];
  return { host: host.replace(/^\[(.*)\]$/, "$1"), port: Number(port), secure: scheme === "smtps" || Number(port) === SUBMISSIONS_PORT };
}

function smtpTransport(smtp: SmtpOptions): MailTransport {
  return {
    async send({ from, to, subject, text }) {
      // Loaded with the first mail: most registries send none.
      const { createTransport } = await import("nodemailer");
      const transport = createTransport(transportOptions(smtp));
      try {
        await transport.sendMail({ from, to: [...to], subject, text });
      } finally {
        transport.close();
      }
    },
  };
}

function transportOptions(smtp: SmtpOptions): { [key: string]: unknown } {
  const server = serverOf(smtp.addr);
  const hasLogin = smtp.username !== "";
  return {
    ...server,
    // A password goes over the network in the clear only where certificates do not count either.
    requireTLS: hasLogin && !smtp.insecure && !isLoopback(server.host),
    tls: { rejectUnauthorized: !smtp.insecure },
    ...(hasLogin ? { auth: { user: smtp.username, pass: smtp.password } } : {}),
    connectionTimeout: TIMEOUT_MS,
    greetingTimeout: TIMEOUT_MS,
    socketTimeout: TIMEOUT_MS,
    dnsTimeout: TIMEOUT_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
  };
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}
