import { describe, expect, test } from "bun:test";
import { StoreConnectionError } from "../object-store/connection-error.ts";
import { AzureCallError, callFailure, isTransient } from "./errors.ts";

const CALL = { operation: "Get Blob", target: "container/some/name" };

/** As the SDK's: with all of the request in it. */
function restError(message: string, { status, code, header }: { readonly status: number; readonly code?: string; readonly header?: string }): Error {
  const request = { headers: { authorization: "SharedKey secret" } };
  return Object.assign(new Error(message), { name: "RestError", statusCode: status, code, request, response: { status, request, headers: { get: () => header } } });
}

describe("callFailure", () => {
  test("tells what was asked, and what the store said of it", () => {
    const failure = callFailure(restError("The specified blob does not exist.\nRequestId:1\nTime:2", { status: 404, code: "BlobNotFound" }), CALL);
    expect(failure.message).toBe("azure: Get Blob container/some/name: BlobNotFound: The specified blob does not exist. (status 404)");
    expect(failure.isMissing).toBe(true);
  });

  test("takes the code of the header, where there is no body", () => {
    expect(callFailure(restError("", { status: 404, header: "BlobNotFound" }), CALL)).toMatchObject({ code: "BlobNotFound", isMissing: true, message: expect.stringContaining("no message") });
  });

  test("keeps nothing of the request, which has the credentials in it", () => {
    const failure = callFailure(restError("no", { status: 403, code: "AuthenticationFailed" }), CALL);
    expect(Bun.inspect(failure)).not.toContain("secret");
    expect(failure.cause).toBeUndefined();
  });

  test("finds the broken connection behind the errors of those who get tokens", () => {
    const broken = new StoreConnectionError("the store closed the connection", "ECONNRESET");
    const failure = callFailure(new Error("no token", { cause: new Error("inner", { cause: broken }) }), CALL);
    expect(failure).toMatchObject({ code: "ECONNRESET", status: 0, cause: broken });
    expect(isTransient(failure)).toBe(true);
  });

  test("leaves what it made itself", () => {
    const failure = new AzureCallError(CALL, { code: "x", status: 1, message: "y" });
    expect(callFailure(failure, { operation: "other", target: "other" })).toBe(failure);
  });
});

describe("AzureCallError", () => {
  const error = (status: number, code: string): AzureCallError => new AzureCallError(CALL, { code, status, message: "it is" });

  test.each([
    [404, "ContainerNotFound"],
    [404, "ResourceNotFound"],
    [404, "RestError"],
    [409, "BlobNotFound"],
    [403, "AuthorizationFailure"],
  ])("of status %d %s does not say that there is no such blob", (status, code) => {
    expect(error(status, code).isMissing).toBe(false);
  });

  test.each([
    [500, "InternalError", true],
    [503, "ServerBusy", true],
    [429, "TooManyRequests", true],
    [408, "RequestTimeout", true],
    [200, "PARSE_ERROR", true],
    [404, "BlobNotFound", false],
    [409, "BlobAlreadyExists", false],
    [412, "ConditionNotMet", false],
    [403, "AuthenticationFailed", false],
    [501, "NotImplemented", false],
  ])("of status %d %s may pass by itself: %p", (status, code, expected) => {
    expect(isTransient(error(status, code))).toBe(expected);
  });
});
