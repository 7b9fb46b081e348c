/** The levels of the log, most important first. */
export const LOG_LEVELS = ["error", "warn", "info", "debug"] as const;

/** A level of the log. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Facts of a log line; keys dotted as distribution has them (`http.request.method`). Never put a credential in. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Where the program tells its operator what happens. Messages are static and lower-case; facts are fields. */
export interface Logger {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** Whether a line of that level would be written: ask before building costly fields. */
  isEnabled(level: LogLevel): boolean;
  /** A logger that adds these fields to every line. */
  child(fields: LogFields): Logger;
}

/** A logger that writes nothing. */
export const SILENT_LOGGER: Logger = {
  error() {},
  warn() {},
  info() {},
  debug() {},
  isEnabled: () => false,
  child: () => SILENT_LOGGER,
};
