/** What the service refuses a request with. */
export class OssRefusal extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, code: string, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.name = "OssRefusal";
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

export const refusals = {
  accessDenied: (message: string) => new OssRefusal(403, "AccessDenied", message),
  invalidArgument: (message: string) => new OssRefusal(400, "InvalidArgument", message),
  malformedXml: () => new OssRefusal(400, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema."),
  noSuchBucket: () => new OssRefusal(404, "NoSuchBucket", "The specified bucket does not exist."),
  noSuchKey: () => new OssRefusal(404, "NoSuchKey", "The specified key does not exist."),
  noSuchUpload: () => new OssRefusal(404, "NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."),
  notImplemented: (what: string) => new OssRefusal(501, "NotImplemented", `A header or parameter you provided implies functionality that is not implemented: ${what}`),
  preconditionFailed: () => new OssRefusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold."),
} as const;
