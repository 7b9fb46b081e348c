import { z } from "zod";
import { duration, flag, integer, secret, text, texts } from "../lib/fields.ts";

/** `redis`: shared by instances. Both the form of distribution 3.x and the flat one of 2.x. */
export const REDIS_OPTIONS = z
  .object({
    addrs: texts().prefault([]).describe("host:port of the server, of several of a cluster, or of sentinels."),
    addr: text().optional().describe("The same for one server, in the form of 2.x."),
    clientname: text().optional().describe("What the client calls itself to the server."),
    db: integer({ min: 0 }).prefault(0).describe("Number of the database."),
    protocol: integer().prefault(3).describe("Version of the protocol: 2, or else 3, which servers that do not know it are spared."),
    username: text().optional().describe("For servers with users."),
    password: secret().optional().describe("Of the user, or of the server."),
    sentinelusername: text().optional().describe("For sentinels with users."),
    sentinelpassword: secret().optional().describe("Of sentinels."),
    mastername: text().optional().describe("The master's name; makes addrs those of sentinels."),
    maxretries: integer().prefault(3).describe("How often a request is tried again when its connection breaks."),
    minretrybackoff: duration().prefault("8ms").describe("Before a server is looked for again, for the first time; doubled each time."),
    maxretrybackoff: duration().prefault("512ms").describe("The longest pause before a server is looked for again."),
    dialtimeout: duration({ min: 0 }).prefault("5s").describe("For how long a connection may take."),
    readtimeout: duration({ min: 0 }).prefault("3s").describe("For how long an answer may take; the longer one of this and writetimeout counts, 0: for ever."),
    writetimeout: duration({ min: 0 }).prefault("3s").describe("See readtimeout."),
    contexttimeoutenabled: flag().optional().meta({ inert: "every request has a timeout" }),
    poolfifo: flag().optional().meta({ inert: "one connection carries all requests" }),
    poolsize: integer().optional().meta({ inert: "one connection carries all requests" }),
    pooltimeout: duration().optional().meta({ inert: "one connection carries all requests" }),
    minidleconns: integer().optional().meta({ inert: "one connection carries all requests" }),
    maxidleconns: integer().optional().meta({ inert: "one connection carries all requests" }),
    maxactiveconns: integer().optional().meta({ inert: "one connection carries all requests" }),
    connmaxidletime: duration().optional().meta({ inert: "one connection carries all requests" }),
    connmaxlifetime: duration().optional().meta({ inert: "one connection carries all requests" }),
    maxredirects: integer().prefault(3).describe("How often a cluster may send a request on."),
    readonly: flag().prefault(false).describe("Read from the replicas of a cluster."),
    routebylatency: flag().optional().meta({ inert: "it is not measured which node answers soonest; see readonly and routerandomly" }),
    routerandomly: flag().prefault(false).describe("Read from any node of a cluster, masters and replicas."),
    disableidentity: flag().prefault(false).describe("Do not tell the server which client library this is."),
    identitysuffix: text().optional().describe("What is added to the name of the client library."),
    unstableresp3: flag().optional().meta({ inert: "it is about searches, and nothing is searched" }),
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
  .transform((options) => ({ ...options, addrs: options.addrs.length === 0 && options.addr !== undefined && options.addr !== "" ? [options.addr] : options.addrs }));

/** `redis`, parsed. */
export type RedisOptions = z.output<typeof REDIS_OPTIONS>;
