import { callOf, type Fault, type FaultProxy, type ProxiedRequest } from "./fault-proxy.ts";
import { seededBytes } from "./http.ts";

/** What goes wrong now and then. */
export interface RandomFaults {
  /** The same number makes the same faults, as far as requests come in the same order. */
  readonly seed: number;
  readonly faults: readonly Fault[];
  /** One request in so many fails. */
  readonly oneIn: number;
  /** How often one call fails at most. */
  readonly maxPerCall: number;
  /** Whether a request is left alone. */
  spares?(request: ProxiedRequest): boolean;
}

/** A plan by which some requests fail. */
export function randomFaults({ seed, faults, oneIn, maxPerCall, spares }: RandomFaults): FaultProxy["plan"] {
  const dice = seededBytes(64 * 1024, seed);
  const failures = new Map<string, number>();
  let index = 0;
  return (request) => {
    if (spares?.(request) === true) return undefined;
    const [whether = 0, which = 0] = [dice[index % dice.length], dice[(index + 1) % dice.length]];
    index += 2;
    const call = callOf(request);
    const count = failures.get(call) ?? 0;
    if (whether % oneIn !== 0 || count >= maxPerCall) return undefined;
    failures.set(call, count + 1);
    return faults[which % faults.length];
  };
}
