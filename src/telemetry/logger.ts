import { type ConstantFields, type LineFormat, lineFormat, type LogFormat } from "./log-formats.ts";
import type { LineSink } from "./line-writer.ts";
import { LOG_LEVELS, type LogFields, type Logger, type LogLevel } from "./log.ts";

/** How to log. */
export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** On every line. */
  readonly fields: LogFields;
  /** Also `file` and `func` of the caller. */
  readonly reportCaller: boolean;
}

/** A line that was written. */
export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** Told of lines that are written, for hooks. */
export type LineListener = (line: LogLine) => void;

/** The program's logger: its level can change, and its lines can be listened to. */
export interface RootLogger extends Logger {
  level(): LogLevel;
  setLevel(level: LogLevel): void;
  /** Tells a listener of every line of these levels. */
  listen(levels: ReadonlySet<LogLevel>, listener: LineListener): void;
  /** Writes out what is gathered. */
  flush(): void;
}

interface Shared {
  threshold: number;
  readonly format: LineFormat;
  readonly sink: LineSink;
  readonly reportCaller: boolean;
  readonly listeners: { readonly levels: ReadonlySet<LogLevel>; readonly listener: LineListener }[];
}

/** Opens the log. */
export function openLogger(options: LoggerOptions, sink: LineSink): RootLogger {
  const shared: Shared = { threshold: LOG_LEVELS.indexOf(options.level), format: lineFormat(options.format), sink, reportCaller: options.reportCaller, listeners: [] };
  const logger = new LineLogger(shared, options.fields);
  return Object.assign(logger, {
    level: () => LOG_LEVELS[shared.threshold] ?? options.level,
    setLevel: (level: LogLevel) => void (shared.threshold = LOG_LEVELS.indexOf(level)),
    listen: (levels: ReadonlySet<LogLevel>, listener: LineListener) => void shared.listeners.push({ levels, listener }),
    flush: () => sink.flush(),
  });
}

class LineLogger implements Logger {
  readonly #shared: Shared;
  readonly #fields: LogFields;
  readonly #constant: ConstantFields;

  constructor(shared: Shared, fields: LogFields) {
    this.#shared = shared;
    this.#fields = fields;
    this.#constant = shared.format.renderConstant(fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#write("error", message, fields);
    // What went wrong must be out before anything else can.
    this.#shared.sink.flush();
  }

  warn(message: string, fields?: LogFields): void {
    if (this.isEnabled("warn")) this.#write("warn", message, fields);
  }

  info(message: string, fields?: LogFields): void {
    if (this.isEnabled("info")) this.#write("info", message, fields);
  }

  debug(message: string, fields?: LogFields): void {
    if (this.isEnabled("debug")) this.#write("debug", message, fields);
  }

  isEnabled(level: LogLevel): boolean {
    return LOG_LEVELS.indexOf(level) <= this.#shared.threshold;
  }

  child(fields: LogFields): Logger {
    return new LineLogger(this.#shared, { ...this.#fields, ...fields });
  }

  #write(level: LogLevel, message: string, fields: LogFields | undefined): void {
    const own = this.#shared.reportCaller ? { ...fields, ...callerFields() } : fields;
    this.#shared.sink.write(this.#shared.format.line(level, message, { constant: this.#constant, own }));
    for (const { levels, listener } of this.#shared.listeners) if (levels.has(level)) listener({ level, message, fields: { ...this.#fields, ...own } });
  }
}

/** Where in the program the logger was called. */
function callerFields(): LogFields {
  // Error, callerFields, #write, the method of the level, and then the caller.
  const frame = (new Error().stack ?? "").split("\n")[4] ?? "";
  const match = /at (?:(.*?) \()?(.*?:\d+)(?::\d+)?\)?$/.exec(frame.trim());
  return match === null ? {} : { file: match[2] ?? "", func: match[1] ?? "" };
}
