import { describe, expect, test } from "bun:test";
import { parseListing } from "./listing.ts";

const listing = (content: string): string => `<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>a/</Prefix><MaxKeys>1000</MaxKeys>${content}</ListBucketResult>\n`;

describe("parseListing", () => {
  test("reads objects, groups and where to go on", () => {
    const objects = '<Contents><Key>a/b</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&quot;x&quot;</ETag><Size>12</Size><Owner><ID>i</ID><DisplayName>d</DisplayName></Owner><StorageClass>STANDARD</StorageClass></Contents>\n<Contents>\n <Size>0</Size>\n <Key>a/c</Key>\n</Contents>';
    const found = parseListing(listing(`<IsTruncated>true</IsTruncated>${objects}<CommonPrefixes><Prefix>a/d/</Prefix></CommonPrefixes><CommonPrefixes xmlns="x"><Prefix>a/e/</Prefix></CommonPrefixes><NextContinuationToken>a/e/&amp;</NextContinuationToken>`));
    expect(found).toEqual({
      objects: [
        { key: "a/b", sizeBytes: 12, modifiedAt: new Date("2026-01-02T03:04:05.678Z") },
        { key: "a/c", sizeBytes: 0, modifiedAt: new Date(0) },
      ],
      directories: ["a/d/", "a/e/"],
      next: "a/e/&",
    });
  });

  test("takes a token for the next page only where there is one", () => {
    expect(parseListing(listing("<IsTruncated>false</IsTruncated><NextContinuationToken>x</NextContinuationToken>"))?.next).toBeUndefined();
    expect(parseListing(listing("<IsTruncated>true</IsTruncated><NextContinuationToken/>"))?.next).toBeUndefined();
    expect(parseListing(listing(""))).toEqual({ objects: [], directories: [], next: undefined });
  });

  test.each([
    ["&lt;&gt;&amp;&quot;&apos;", "<>&\"'"],
    ["&#60;&#x3c;&#x1F433;", "<<\u{1F433}"],
    ["&amp;lt; &unknown; 100% ä", "&lt; &unknown; 100% ä"],
  ])("reads the escaped characters of %s", (written, key) => {
    expect(parseListing(listing(`<Contents><Key>${written}</Key></Contents>`))?.objects[0]?.key).toBe(key);
  });

  test.each([
    ["an error", "<Error><Code>InternalError</Code></Error>"],
    ["a listing that breaks off", listing("<Contents><Key>a</Key></Contents>").slice(0, -20)],
    ["an object without a key", listing("<Contents><Size>1</Size></Contents>")],
    ["a text in another form", listing("<Contents><Key><![CDATA[a]]></Key></Contents>")],
    ["a comment", listing("<!-- <Contents><Key>a</Key></Contents> -->")],
    ["names with a prefix", "<s3:ListBucketResult><s3:Contents><s3:Key>a</s3:Key></s3:Contents></s3:ListBucketResult>"],
    ["nothing", ""],
  ])("leaves %s to others", (_, xml) => {
    expect(parseListing(xml)).toBeUndefined();
  });
});
