import { z } from "zod";
import { duration, flag, integer, secret, text, texts } from "../lib/fields.ts";

/** `redis`: shared by instances. Both the form of distribution 3.x and the flat one of 2.x. */
export const REDIS_OPTIONS = z
  .object({
    addrs: texts().prefault([]).describe("host:port of the server, of several of a cluster, or of sentinels."),
    addr: text().optional().describe("The same for one server, in the form of 2.x."),
    clientname: text().optional(),
    db: integer({ min: 0 }).prefault(0).describe("Number of the database."),
    protocol: integer().optional().meta({ inert: "the client chooses it" }),
    username: text().optional(),
    password: secret().optional(),
    sentinelusername: text().optional(),
    sentinelpassword: secret().optional(),
    mastername: text().optional().describe("The master's name; makes addrs those of sentinels."),
    maxretries: integer().prefault(3),
    minretrybackoff: duration().prefault("8ms"),
    maxretrybackoff: duration().prefault("512ms"),
    dialtimeout: duration({ min: 0 }).prefault("5s"),
    readtimeout: duration({ min: 0 }).prefault("3s"),
    writetimeout: duration({ min: 0 }).prefault("3s"),
    contexttimeoutenabled: flag().optional().meta({ inert: "every request has a timeout" }),
    poolfifo: flag().optional().meta({ inert: "one connection carries all requests" }),
    poolsize: integer().optional().meta({ inert: "one connection carries all requests" }),
    pooltimeout: duration().optional().meta({ inert: "one connection carries all requests" }),
    minidleconns: integer().optional().meta({ inert: "one connection carries all requests" }),
    maxidleconns: integer().optional().meta({ inert: "one connection carries all requests" }),
    maxactiveconns: integer().optional().meta({ inert: "one connection carries all requests" }),
    connmaxidletime: duration().optional().meta({ inert: "one connection carries all requests" }),
    connmaxlifetime: duration().optional().meta({ inert: "one connection carries all requests" }),
    maxredirects: integer().prefault(3),
    readonly: flag().prefault(false),
    routebylatency: flag().optional().meta({ inert: "reads go to masters unless readonly is set" }),
    routerandomly: flag().optional().meta({ inert: "reads go to masters unless readonly is set" }),
    disableidentity: flag().optional().meta({ inert: "the client does not identify itself" }),
    identitysuffix: text().optional().meta({ inert: "the client does not identify itself" }),
    unstableresp3: flag().optional().meta({ inert: "the client chooses the protocol" }),
    pool: z.object({ maxidle: integer().optional(), maxactive: integer().optional(), idletimeout: duration().optional() }).optional().meta({ inert: "one connection carries all requests" }),
    tls: z
      .object({
        certificate: text().optional().describe("PEM file of a client certificate."),
        key: text().optional().describe("PEM file of its key."),
        rootcas: texts().prefault([]).describe("PEM files of authorities."),
        clientcas: texts().prefault([]).describe("The same, under its name of 3.0."),
      })
      .prefault({}),
  })
  .transform((options) => ({ ...options, addrs: options.addrs.length === 0 && options.addr !== undefined && options.addr !== "" ? [options.addr] : options.addrs }))
  .meta({ inert: "nothing is kept in Redis; sizes of blobs on files are looked up" });

/** `redis`, parsed. */
export type RedisOptions = z.output<typeof REDIS_OPTIONS>;
