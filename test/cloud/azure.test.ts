import { startAzurite } from "../support/azurite.ts";
import { registryOnStore } from "./registry-on-store.ts";

registryOnStore("a registry on Azure Blob Storage", async () => {
  const azurite = await startAzurite();
  await azurite.createContainer("registry");
  return {
    storage: { azure: azurite.section("registry", { rootdirectory: "/some/where" }) },
    objects: async (part) => {
      const names: string[] = [];
      for await (const { name } of azurite.container("registry").listBlobsFlat()) if (name.includes(part)) names.push(name);
      return names;
    },
    [Symbol.asyncDispose]: () => azurite[Symbol.asyncDispose](),
  };
});
