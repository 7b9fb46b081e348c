import { expect, test } from "bun:test";
import { join } from "node:path";
import { runCommand, tryCommand } from "../support/command.ts";
import { describeWith } from "../support/services.ts";
import { tempFolder } from "../support/temp-folder.ts";

const UNIT = join(import.meta.dir, "../../packaging/registry.service");

describeWith(["systemd"], "the systemd unit", () => {
  test("is taken without a warning", async () => {
    await using folder = await tempFolder();
    // The check wants the program to be there.
    const text = (await Bun.file(UNIT).text()).replaceAll("/usr/local/bin/registry", process.execPath);
    const unit = join(folder.path, "registry.service");
    await Bun.write(unit, text);
    const { exitCode, stdout, stderr } = await tryCommand(["systemd-analyze", "verify", "--man=no", unit]);
    expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  });

  test("is as closed as a network service can be", async () => {
    const report = await runCommand(["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT]);
    const exposure = Number(/Overall exposure level[^:]*: ([\d.]+)/.exec(report)?.[1]);
    expect(exposure).toBeLessThanOrEqual(1.2);
  });
});
