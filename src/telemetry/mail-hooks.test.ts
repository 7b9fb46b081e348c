import { describe, expect, test } from "bun:test";
import { openLogger, type RootLogger } from "./logger.ts";
import { type Mail, MailHooks, type MailTransport } from "./mail-hooks.ts";
import { type HookOptions, LOG_OPTIONS } from "./options.ts";

const MAIL = { smtp: { addr: "mail.internal:25" }, from: "registry@example.com", to: ["ops@example.com"] };

function hooks(...list: readonly object[]): readonly HookOptions[] {
  return LOG_OPTIONS.parse({ hooks: list.map((hook) => ({ type: "mail", levels: ["error"], options: MAIL, ...hook })) }).hooks;
}

interface Bench {
  readonly log: RootLogger;
  readonly lines: string[];
  readonly sent: Mail[];
  readonly mails: MailHooks;
  /** Ends the pauses that are under way. */
  wake(): void;
}

/** A log with hooks whose mails arrive in a list, and a clock whose pauses end when they are told to. */
function open(options: readonly HookOptions[], send?: MailTransport["send"]): Bench {
  const lines: string[] = [];
  const sent: Mail[] = [];
  let pauses: (() => void)[] = [];
  const log = openLogger({ level: "info", format: "text", fields: { service: "registry" }, reportCaller: false }, { write: (line) => void lines.push(line), flush: () => undefined });
  const sleep = (_ms: number, signal?: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      pauses.push(resolve);
      signal?.addEventListener("abort", () => resolve(), { once: true });
      if (signal?.aborted === true) resolve();
    });
  const transport: MailTransport = {
    async send(mail) {
      await send?.(mail);
      sent.push(mail);
    },
  };
  const mails = new MailHooks(options, { log, clock: { now: () => 0, sleep }, openTransport: () => transport });
  const wake = (): void => {
    for (const end of pauses) end();
    pauses = [];
  };
  return { log, lines, sent, mails, wake };
}

const settle = async (): Promise<void> => await Bun.sleep(1);

describe("MailHooks", () => {
  test("mail lines of their levels, in the form of distribution", async () => {
    const { log, sent } = open(hooks({ levels: ["error", "warning"] }));
    log.info("nothing to see");
    log.child({ "vars.name": "a/b" }).error("storage failed", { attempt: 2 });
    log.warn("disk is nearly full");
    await settle();
    expect(sent[0]).toEqual({ from: "registry@example.com", to: ["ops@example.com"], subject: "[error] mail.internal: storage failed", text: "storage failed\n\nattempt: 2\nservice: registry\nvars.name: a/b\n" });
    expect(sent.map((mail) => mail.subject)).toEqual(["[error] mail.internal: storage failed", "[warn] mail.internal: disk is nearly full"]);
  });

  test("do not mail lines that the log's level holds back", async () => {
    const { log, sent } = open(hooks({ levels: ["debug"] }));
    log.debug("quiet");
    await settle();
    expect(sent).toEqual([]);
  });

  test("are left out when disabled, and with a warning when of another type", async () => {
    const { log, lines, sent } = open(hooks({ disabled: true }, { type: "pager" }));
    log.error("broken");
    await settle();
    expect(sent).toEqual([]);
    expect(lines[0]).toContain("there are no log hooks of this type");
    expect(lines[0]).toContain("type=pager");
  });

  test("send from the first recipient when there is no sender", async () => {
    const { log, sent } = open(hooks({ options: { ...MAIL, from: "" } }));
    log.error("broken");
    await settle();
    expect(sent[0]?.from).toBe("ops@example.com");
  });

  test("keep mails while the server is away, and say so once, mailed by no hook", async () => {
    let isAway = true;
    const { log, lines, sent, wake } = open(hooks({}, { levels: ["error", "info"] }), async () => {
      if (isAway) throw new Error("connection refused");
    });
    log.error("first");
    await settle();
    wake();
    await settle();
    log.error("second");
    wake();
    await settle();
    expect(lines.filter((line) => line.includes("cannot be mailed")).length).toBe(2);
    isAway = false;
    wake();
    await settle();
    expect(sent.map((mail) => mail.text.split("\n")[0])).toEqual(["first", "first", "second", "second"]);
    expect(lines.filter((line) => line.includes("are mailed again")).length).toBe(2);
  });

  test("drop a mail that the server refuses for good", async () => {
    const { log, sent } = open(hooks({}), async (mail) => {
      if (mail.text.startsWith("bad")) throw Object.assign(new Error("550 no such user"), { responseCode: 550 });
    });
    log.error("bad");
    log.error("good");
    await settle();
    expect(sent.map((mail) => mail.text.split("\n")[0])).toEqual(["good"]);
  });

  test("hold a bounded number of lines, and count the others in the next mail", async () => {
    const gate = Promise.withResolvers<void>();
    const { log, sent } = open(hooks({}), async () => await gate.promise);
    for (let line = 0; line < 105; line++) log.error(`line ${line}`);
    gate.resolve();
    await settle();
    expect(sent.length).toBe(100);
    log.error("later");
    await settle();
    expect(sent[100]?.text).toContain("5 lines before this one were not mailed");
  });

  test("close sends what waits, and says what is lost", async () => {
    const { log, lines, sent, mails } = open(hooks({}), async (mail) => {
      if (mail.text.startsWith("second")) throw new Error("connection refused");
    });
    log.error("first");
    log.error("second");
    await mails.close(1000);
    log.error("too late");
    await settle();
    expect(sent.map((mail) => mail.text.split("\n")[0])).toEqual(["first"]);
    expect(lines.some((line) => line.includes("log lines were not mailed") && line.includes("lost=1"))).toBe(true);
  });

  test("close does not wait longer than it may", async () => {
    const { log, mails, wake } = open(hooks({}), async () => await new Promise(() => undefined));
    log.error("stuck");
    const closed = mails.close(1000);
    wake();
    await closed;
  });
});

test("log.hooks[].levels takes the names of logrus alone", () => {
  expect(LOG_OPTIONS.safeParse({ hooks: [{ type: "mail", levels: ["panic", "Fatal", "warning"] }] }).success).toBe(true);
  expect(LOG_OPTIONS.safeParse({ hooks: [{ type: "mail", levels: ["loud"] }] }).success).toBe(false);
});
