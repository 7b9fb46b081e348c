import { describe, expect, test } from "bun:test";
import { StorageFullError } from "../errors.ts";
import { StoreConnectionError } from "../object-store/connection-error.ts";
import { callFailure, isOverload, isTransient, S3CallError } from "./errors.ts";

const CALL = { operation: "GetObject", target: "bucket/key", attempts: 1 };

/** An error as the SDK throws it. */
function sdkError(code: string, status: number, message = "UnknownError"): Error {
  return Object.assign(new Error(message), { name: code, Code: code, $metadata: { httpStatusCode: status, requestId: "r-1" } });
}

describe("S3CallError", () => {
  test("says what was called, why it failed, and how often it was tried", () => {
    const error = new S3CallError({ ...CALL, attempts: 3 }, sdkError("AccessDenied", 403, "Access Denied"));
    expect(error.message).toBe("s3: GetObject bucket/key: AccessDenied: Access Denied (status 403, request r-1, 3 attempts)");
    expect([error.code, error.status]).toEqual(["AccessDenied", 403]);
  });

  test("says so when the store gives no reason", () => {
    const error = new S3CallError(CALL, Object.assign(new Error("UnknownError"), { name: "Unknown", $metadata: { httpStatusCode: 403 } }));
    expect(error.message).toBe("s3: GetObject bucket/key: the store gives no reason (status 403)");
  });

  test.each([
    ["NoSuchKey", 404, "isMissingKey"],
    ["NotFound", 404, "isMissingKey"],
    ["NoSuchUpload", 404, "isMissingUpload"],
    ["InvalidRange", 416, "isPastEnd"],
    ["PreconditionFailed", 412, "isChanged"],
    ["NotImplemented", 501, "isRefusal"],
    ["InvalidRequest", 400, "isRefusal"],
  ] as const)("knows %s for what it is", (code, status, name) => {
    const error = new S3CallError(CALL, sdkError(code, status));
    expect(["isMissingKey", "isPastEnd", "isChanged", "isRefusal"].filter((each) => error[each as "isChanged"])).toEqual(name === "isMissingUpload" ? [] : [name]);
    expect(error[name]).toBe(true);
  });

  test("takes a missing bucket for neither a missing object nor a missing upload", () => {
    const error = new S3CallError(CALL, sdkError("NoSuchBucket", 404));
    expect([error.isMissingKey, error.isMissingUpload]).toEqual([false, false]);
  });
});

test.each([
  ["InternalError", 500, true, false],
  ["SlowDown", 503, true, true],
  ["SlowDown", 200, true, true],
  ["InternalError", 200, true, false],
  ["TooManyRequests", 429, true, true],
  ["RequestTimeout", 400, true, false],
  ["RequestTimeTooSkewed", 403, true, false],
  ["AccessDenied", 403, false, false],
  ["ExpiredToken", 403, false, false],
  ["NoSuchKey", 404, false, false],
  ["NotImplemented", 501, false, false],
] as const)("%s with status %d may pass: %p; is an overload: %p", (code, status, transient, overload) => {
  const error = callFailure(sdkError(code, status), CALL);
  expect([isTransient(error), isOverload(error)]).toEqual([transient, overload]);
});

test("an answer of success that the SDK could not read may pass, and is told of without the SDK's advice", () => {
  const error = Object.assign(new Error("XML parse error\n  Deserialization error: to see the raw response, inspect the hidden field {error}.$response on this object."), { $metadata: { httpStatusCode: 200, requestId: "1" } });
  const failure = callFailure(error, CALL);
  expect(failure.message).toBe("s3: GetObject bucket/key: UnreadableAnswer: the store's answer cannot be read (status 200, request 1)");
  expect(isTransient(failure)).toBe(true);
});

test("isTransient is true of broken connections, and false of everything that is no call's failure", () => {
  expect(isTransient(callFailure(new StoreConnectionError("socket hang up", "ECONNRESET"), CALL))).toBe(true);
  expect(isTransient(callFailure(new Error("unable to verify the first certificate"), CALL))).toBe(false);
  expect(isTransient(new TypeError("a bug"))).toBe(false);
});

test.each([["QuotaExceeded", 403], ["InsufficientStorage", 507], ["XMinioStorageFull", 507]])("callFailure turns %s into a full store", (code, status) => {
  expect(callFailure(sdkError(code, status), CALL)).toBeInstanceOf(StorageFullError);
});
