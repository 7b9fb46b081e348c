import { expect, test } from "bun:test";
import { OSS_OPTIONS } from "./options.ts";

const GOOD = { accesskeyid: "id", accesskeysecret: "secret", region: "oss-cn-hangzhou", bucket: "images" };

function complaints(options: object): readonly string[] {
  const { error } = OSS_OPTIONS.safeParse(options);
  return (error?.issues ?? []).map(({ path, message }) => `${path.join(".")}: ${message}`);
}

test("OSS_OPTIONS have the defaults of distribution", () => {
  expect(OSS_OPTIONS.parse(GOOD)).toMatchObject({ internal: false, encrypt: false, secure: true, chunksize: 10 * 1024 * 1024, rootdirectory: "" });
  expect(OSS_OPTIONS.parse({ ...GOOD, bucket: "Images" }).bucket).toBe("images");
});

test("OSS_OPTIONS name every parameter that is missing", () => {
  expect(complaints({})).toEqual(["accesskeyid", "accesskeysecret", "region", "bucket"].map((key) => `${key}: no ${key} parameter provided`));
});

test.each([
  ["bucket", "a_b", 'bucket: found "a_b", expected 3 to 63 letters, digits and dashes'],
  ["region", "somewhere else", 'region: found "somewhere else", expected a region like oss-cn-hangzhou'],
  ["endpoint", "https://host/path", 'endpoint: found "https://host/path", expected a host, or scheme and host, like bucket.oss-cn-hangzhou.aliyuncs.com'],
  ["endpoint", "ftp://host", 'endpoint: found "ftp://host", expected a host, or scheme and host, like bucket.oss-cn-hangzhou.aliyuncs.com'],
  ["rootdirectory", "/a/../b", 'rootdirectory: found "/a/../b", expected no . and no .. in it'],
])("OSS_OPTIONS refuse a %s of %s", (key, value, message) => {
  expect(complaints({ ...GOOD, [key]: value })).toEqual([message]);
});

test("OSS_OPTIONS take the least chunk size that distribution takes, and none below", () => {
  expect(OSS_OPTIONS.parse({ ...GOOD, chunksize: 5_242_880 }).chunksize).toBe(5_242_880);
  expect(complaints({ ...GOOD, chunksize: 5_242_879 })).toHaveLength(1);
});
