/** The last bytes kept of what a child wrote. */
const KEPT_CHARACTERS = 4 * 1024 * 1024;

/** A program that a test runs beside itself. */
export interface Child extends AsyncDisposable {
  readonly pid: number;
  /** All that it wrote to stderr and stdout so far, at most the last 4 MiB. */
  output(): string;
  /**
   * Waits for a line.
   * @returns The match.
   * @throws Error with the output when the program ends first, or after 20 seconds.
   */
  waitForOutput(pattern: RegExp): Promise<RegExpExecArray>;
  /** Sends a signal, default SIGTERM, and waits for the end; SIGKILL after 20 seconds. @returns The exit status. */
  stop(signal?: NodeJS.Signals): Promise<number>;
  /** Resolves with the exit status when it ends by itself. */
  readonly exited: Promise<number>;
}

/** Starts a program with nothing of this process's environment but PATH and HOME. */
export function startChild(command: readonly string[], env: Readonly<Record<string, string>> = {}): Child {
  const child = Bun.spawn([...command], {
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "/", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  let text = "";
  let wake = Promise.withResolvers<void>();
  const changed = (): void => {
    wake.resolve();
    wake = Promise.withResolvers();
  };
  const collect = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      text = (text + decoder.decode(chunk, { stream: true })).slice(-KEPT_CHARACTERS);
      changed();
    }
  };
  const collected = Promise.all([collect(child.stdout), collect(child.stderr)]).finally(changed);
  let hasEnded = false;
  void collected.then(() => {
    hasEnded = true;
  });

  return {
    pid: child.pid,
    exited: child.exited,
    output: () => text,
    async waitForOutput(pattern) {
      const deadline = Date.now() + 20_000;
      for (;;) {
        const match = pattern.exec(text);
        if (match !== null) return match;
        if (hasEnded) throw new Error(`${command[0]} ended with status ${await child.exited} before it wrote ${pattern}:\n${text}`);
        if (Date.now() > deadline) throw new Error(`${command[0]} did not write ${pattern}:\n${text}`);
        await Promise.race([wake.promise, Bun.sleep(200)]);
      }
    },
    async stop(signal = "SIGTERM") {
      child.kill(signal);
      const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
      const status = await child.exited;
      clearTimeout(timer);
      // A grandchild may hold the pipe open: do not wait for it.
      await Promise.race([collected, Bun.sleep(1000)]);
      return status;
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) await this.stop();
    },
  };
}
