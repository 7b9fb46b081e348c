import { expect, test } from "bun:test";
import { join } from "node:path";
import { runCommand, tryCommand } from "../support/command.ts";
import { describeWith } from "../support/services.ts";
import { tempFolder } from "../support/temp-folder.ts";

const FOLDER = join(import.meta.dir, "../../packaging");
const UNIT = join(FOLDER, "registry.service");

describeWith(["systemd"], "the systemd unit", () => {
  test("is taken without a warning, and that of its socket", async () => {
    await using folder = await tempFolder();
    // The check wants the program to be there.
    const text = (await Bun.file(UNIT).text()).replaceAll("/usr/local/bin/registry", process.execPath);
    const unit = join(folder.path, "registry.service");
    await Bun.write(unit, text);
    const socket = join(folder.path, "registry.socket");
    await Bun.write(socket, Bun.file(join(FOLDER, "registry.socket")));
    const { exitCode, stdout, stderr } = await tryCommand(["systemd-analyze", "verify", "--man=no", unit, socket]);
    expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  });

  test("is as closed as a network service can be", async () => {
    const report = await runCommand(["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT]);
    const exposure = Number(/Overall exposure level[^:]*: ([\d.]+)/.exec(report)?.[1]);
    expect(exposure).toBeLessThanOrEqual(1.2);
  });
});
