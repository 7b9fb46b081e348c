import { join } from "node:path";
import { stringify } from "yaml";
import { type CommandResult, tryCommand } from "../support/command.ts";
import { type ConfigSection, defaultConfig, type Implementation, registryCommand } from "../support/registry-process.ts";
import { tempFolder } from "../support/temp-folder.ts";

/** What else there is to say of the start. */
export interface RefusalOptions {
  readonly implementation?: Implementation;
  readonly env?: Readonly<Record<string, string>>;
}

/** How a registry ends that must not start. */
export async function refusedStart(config: ConfigSection, options: RefusalOptions = {}): Promise<CommandResult> {
  await using folder = await tempFolder();
  const file = join(folder.path, "config.yml");
  await Bun.write(file, stringify({ ...defaultConfig(join(folder.path, "storage")), ...config }));
  return await tryCommand([...registryCommand(options.implementation), "serve", file], { timeoutMs: 10_000, env: options.env ?? {} });
}
