import { z } from "zod";
import { duration, flag, integer, secret, text } from "../../lib/fields.ts";

/** `storage.azure` */
export const AZURE_OPTIONS = z
  .object({
    accountname: text().prefault("").describe("The storage account."),
    accountkey: secret().optional().describe("Its key, for shared_key."),
    container: text().prefault("").describe("The container."),
    credentials: z
      .object({
        type: text().optional().describe("shared_key, client_secret or default_credentials; shared_key when only accountkey is given."),
        clientid: text().optional().describe("The program's id in the directory, for client_secret."),
        tenantid: text().optional().describe("The directory's id, for client_secret."),
        secret: secret().optional().describe("The program's secret, for client_secret."),
      })
      .prefault({}),
    realm: text().prefault("core.windows.net").describe("Domain of the service."),
    serviceurl: text().optional().describe("URL of the service; default from accountname and realm."),
    rootdirectory: text().prefault("").describe("Prefix of all names."),
    legacyrootprefix: flag().optional().describe("Whether names begin with a slash, as distribution 2.x writes them; default: yes if neither credentials.type nor rootdirectory is given, as 2.x knows none."),
    max_retries: integer({ min: -1 }).prefault(5).describe("How often a pending copy is looked at; -1: not at all."),
    retry_delay: duration({ min: 0 }).prefault("100ms").describe("Time before the first look; before the second it is twice as long, and so on."),
    skipverify: flag().prefault(false).describe("Do not verify the service's certificate."),
    connectionstring: secret().optional().meta({ secret: true, inert: "distribution reads it and makes nothing of it either; set accountname and accountkey, or credentials" }),
    useragent: text().optional().describe("What requests are sent as; default the program's name and version."),
  })
  .superRefine((options, context) => {
    const require = (key: "accountname" | "container"): void => {
      if (options[key] === "") context.addIssue({ code: "custom", path: [key], message: `no ${key} parameter provided` });
    };
    require("accountname");
    require("container");
    if (options.serviceurl !== undefined && !isHttpUrl(options.serviceurl)) context.addIssue({ code: "custom", path: ["serviceurl"], message: "expected a URL, like https://account.blob.example" });
    const type = options.credentials.type ?? (options.accountkey === undefined ? undefined : "shared_key");
    if (type === undefined || !["shared_key", "client_secret", "default_credentials"].includes(type)) {
      context.addIssue({ code: "custom", path: ["credentials", "type"], message: "invalid credentials type, expected shared_key, client_secret or default_credentials" });
    }
    if (type === "shared_key" && options.accountkey === undefined) context.addIssue({ code: "custom", path: ["accountkey"], message: "no accountkey parameter provided" });
    for (const key of ["clientid", "tenantid", "secret"] as const) {
      if (type === "client_secret" && options.credentials[key] === undefined) context.addIssue({ code: "custom", path: ["credentials", key], message: `no credentials.${key} parameter provided` });
    }
  });

function isHttpUrl(value: string): boolean {
  return URL.canParse(value) && /^https?:$/.test(new URL(value).protocol);
}

/** `storage.azure`, parsed. */
export type AzureOptions = z.output<typeof AZURE_OPTIONS>;
