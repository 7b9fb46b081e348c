import type { ReadStream } from "node:tty";
import { type CliContext, CliError } from "./context.ts";

const MAX_BYTES = 4096;
const ENTER = new Set([0x0a, 0x0d]);
const CONTROL_C = 0x03;
const CONTROL_D = 0x04;
const ERASE = new Set([0x08, 0x7f]);

/**
 * Reads a new password: from a terminal twice and without showing it, else the first line of standard input.
 * @throws CliError when the two differ, or there is none
 */
export async function readPassword(context: CliContext): Promise<Buffer> {
  const { stdin } = process;
  if (!stdin.isTTY) return await readFirstLine(stdin);
  const first = await readHidden(stdin, context, "New password: ");
  const second = await readHidden(stdin, context, "Re-type new password: ");
  if (!first.equals(second)) throw new CliError("the passwords differ; nothing was changed");
  return first;
}

async function readFirstLine(stdin: AsyncIterable<Buffer>): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of stdin) {
    bytes = Buffer.concat([bytes, chunk]);
    if (bytes.includes(0x0a) || bytes.length > MAX_BYTES) break;
  }
  const newline = bytes.indexOf(0x0a);
  const line = newline < 0 ? bytes : bytes.subarray(0, newline);
  return line.at(-1) === 0x0d ? line.subarray(0, -1) : line;
}

async function readHidden(stdin: ReadStream, context: CliContext, prompt: string): Promise<Buffer> {
  const typed: number[] = [];
  // Before the prompt: nothing that is typed after it may be shown.
  stdin.setRawMode(true);
  context.stderr(prompt);
  stdin.resume();
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      const take = (chunk: Buffer): void => {
        for (const byte of chunk) {
          if (ENTER.has(byte) || (byte === CONTROL_D && typed.length > 0)) return end(() => resolve(Buffer.from(typed)));
          if (byte === CONTROL_C || byte === CONTROL_D) return end(() => reject(new CliError("interrupted; nothing was changed", 130)));
          if (ERASE.has(byte)) eraseCharacter(typed);
          else if (typed.length < MAX_BYTES) typed.push(byte);
        }
      };
      const end = (settle: () => void): void => {
        stdin.off("data", take);
        settle();
      };
      stdin.on("data", take);
    });
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    context.stderr("\n");
  }
}

// A character of UTF-8 is its last byte that is no continuation, and what follows it.
function eraseCharacter(bytes: number[]): void {
  while (bytes.length > 0) {
    const byte = bytes.pop() ?? 0;
    if ((byte & 0xc0) !== 0x80) return;
  }
}
