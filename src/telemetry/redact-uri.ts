const SECRET_PARAMETERS = /([?&](?:_state|token|access_token|refresh_token|password|secret|sig|signature|x-amz-signature|x-amz-credential|x-amz-security-token)=)[^&#\s]*/gi;

/** Up to the last `@`: a password may hold one. */
const LOGIN = /^([a-z][a-z0-9+.-]*:\/\/)[^/?#\s]+@/i;

/** Takes out of a URL what gives access: logins, upload states, tokens, signatures. */
export function redactUri(uri: string): string {
  if (!uri.includes("?") && !uri.includes("@")) return uri;
  return uri.replace(SECRET_PARAMETERS, "$1<hidden>").replace(LOGIN, "$1<hidden>@");
}
