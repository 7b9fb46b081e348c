import { isName } from "../../oci/name.ts";
import { type BasicCredentials, parseBasic } from "../basic.ts";
import { basicChallenge } from "../challenge.ts";
import { type Access, AccessRefusedError, type TokenAnswer, type TokenEndpoint, type TokenRequest } from "../controller.ts";
import type { IssuedClaims, IssuedTokens } from "../issued-tokens.ts";
import type { AccessRules } from "../rules/rules.ts";
import { parseScopes, type TokenResource } from "../token-access.ts";
import type { PasswordLogin } from "./password-login.ts";

/** What the endpoint hands out tokens by. */
export interface HtpasswdTokenParts {
  readonly realm: string;
  readonly login: PasswordLogin;
  readonly rules: AccessRules;
  readonly tokens: IssuedTokens;
  /** Looks whether the files have changed. */
  readonly refresh: () => Promise<void>;
}

/**
 * Where clients that were sent by our own Bearer challenge fetch tokens: with a login, or as the anonymous without one. Docker,
 * podman and skopeo ask by GET with a Basic header, containerd by POST with a form.
 * @see https://distribution.github.io/distribution/spec/auth/token/ and, for the form, https://distribution.github.io/distribution/spec/auth/oauth/
 */
export class HtpasswdTokenEndpoint implements TokenEndpoint {
  readonly path = "/v2/token";
  readonly #parts: HtpasswdTokenParts;

  constructor(parts: HtpasswdTokenParts) {
    this.#parts = parts;
  }

  async issue(request: TokenRequest): Promise<TokenAnswer> {
    const { tokens, rules, refresh } = this.#parts;
    const { method, parameters } = request;
    const grantType = method === "POST" ? parameters.get("grant_type") : null;
    // No refresh tokens are handed out, so that there are none to be taken.
    if (grantType !== null && grantType !== "password") return { status: 400, json: { error: "unsupported_grant_type", error_description: "expected grant_type password" } };
    const form = grantType === "password" ? passwordForm(parameters) : undefined;
    if (grantType === "password" && form === undefined) return { status: 400, json: { error: "invalid_request", error_description: "expected username and password" } };
    await refresh();
    const claims = await this.#logIn(request, form);
    const granted = grantable(rules, claims.user, parseScopes(parameters.getAll("scope")));
    const { token, issuedAt } = await tokens.issue(claims, granted);
    const answer = { token, access_token: token, expires_in: tokens.ttlSeconds, issued_at: issuedAt.toISOString() };
    return { status: 200, json: form === undefined ? answer : { ...answer, scope: granted.map(({ type, name, actions }) => `${type}:${name}:${actions.join(",")}`).join(" ") } };
  }

  async #logIn(request: TokenRequest, form: BasicCredentials | undefined): Promise<IssuedClaims> {
    const hasHeader = request.authorization !== undefined && request.authorization !== "";
    if (!hasHeader && form === undefined) return { user: undefined, passwordMark: undefined };
    const basic = form ?? parseBasic(request.authorization);
    if (basic === undefined) throw this.#refuse("the Authorization header is no Basic header that can be read");
    const outcome = await this.#parts.login.login(basic, { address: request.clientAddress });
    if (outcome.kind === "throttled") throw new AccessRefusedError("throttled", "too many failed logins", { required: [], retryAfterSeconds: outcome.retryAfterSeconds });
    if (outcome.kind === "refused") throw this.#refuse("wrong user or password");
    return { user: basic.user, passwordMark: this.#parts.tokens.passwordMark(basic.user, outcome.hash) };
  }

  #refuse(reason: string): AccessRefusedError {
    return new AccessRefusedError("unauthenticated", reason, { required: [], challenge: basicChallenge(this.#parts.realm) });
  }
}

/** What of the wanted the rules allow; a token is made also when that is nothing, as the specification wants it. */
function grantable(rules: AccessRules, user: string | undefined, wanted: readonly TokenResource[]): readonly TokenResource[] {
  return wanted.flatMap((resource) => {
    const actions = actionsOf(resource).filter((access) => rules.allows(user, access)).map((access) => access.action);
    return actions.length === 0 ? [] : [{ type: resource.type, name: resource.name, class: resource.class, actions: [...new Set(actions)] }];
  });
}

function actionsOf({ type, name, actions }: TokenResource): readonly Access[] {
  if (type === "registry") return actions.includes("*") ? [{ type, name, action: "*" }] : [];
  if (type !== "repository" || !isName(name)) return [];
  const every = ["pull", "push", "delete"] as const;
  return every.filter((action) => actions.includes(action) || actions.includes("*")).map((action) => ({ type, name, action }));
}

function passwordForm(parameters: URLSearchParams): BasicCredentials | undefined {
  const user = parameters.get("username");
  const password = parameters.get("password");
  return user === null || password === null ? undefined : { user, password: Buffer.from(password, "utf8") };
}
