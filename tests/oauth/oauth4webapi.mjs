// Every grant with oauth4webapi, the library under openid-client: here each request and
// each answer is looked at by itself. `allowInsecureRequests` is for http on a loopback
// address; nothing else here is not as its documentation says.
import { strict as assert } from "node:assert";
import * as oauth from "oauth4webapi";
import { Browser, TOKEN, at, call, issuer, privateKey, run, suite, test } from "./suite.mjs";

const { clients } = suite;
const insecure = { [oauth.allowInsecureRequests]: true };
const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";

const server = await oauth
  .discoveryRequest(issuer, { algorithm: "oauth2", ...insecure })
  .then((response) => oauth.processDiscoveryResponse(issuer, response));

const keys = {
  inline: await privateKey(clients.inline.key),
  remote: await privateKey(clients.remote.key),
};

/** A client and how it authenticates. */
function as(name) {
  const who = clients[name];
  const proof = {
    native: () => oauth.None(),
    post: () => oauth.ClientSecretPost(who.secret),
    inline: () => oauth.PrivateKeyJwt(keys.inline),
    remote: () => oauth.PrivateKeyJwt(keys.remote),
  }[name];
  return { who, client: { client_id: who.id }, auth: (proof ?? (() => oauth.ClientSecretBasic(who.secret)))() };
}

async function signIn(name, { push = false, more = {} } = {}) {
  const { who, client, auth } = as(name);
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  let parameters = new URLSearchParams({
    client_id: who.id,
    redirect_uri: who.redirectUri,
    response_type: "code",
    scope: who.scope,
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    ...more,
  });
  if (push) {
    const pushed = await oauth.pushedAuthorizationRequest(server, client, auth, parameters, insecure);
    assert.equal(pushed.status, 201);
    const { request_uri } = await oauth.processPushedAuthorizationResponse(server, client, pushed);
    parameters = new URLSearchParams({ client_id: who.id, request_uri });
  }
  const url = new URL(server.authorization_endpoint);
  url.search = parameters;
  const callback = await new Browser().authorize(url, who.redirectUri);
  return { callback, verifier, state };
}

async function redeem(name, { callback, verifier, state }, more = {}) {
  const { who, client, auth } = as(name);
  const parameters = oauth.validateAuthResponse(server, client, callback, state);
  const options = { additionalParameters: new URLSearchParams(more), ...insecure };
  const response = await oauth.authorizationCodeGrantRequest(
    server, client, auth, parameters, who.redirectUri, verifier, options,
  );
  return oauth.processAuthorizationCodeResponse(server, client, response);
}

const tokensOf = async (name, options) => redeem(name, await signIn(name, options));

async function refresh(name, token, more = {}) {
  const { client, auth } = as(name);
  const options = { additionalParameters: new URLSearchParams(more), ...insecure };
  const response = await oauth.refreshTokenGrantRequest(server, client, auth, token, options);
  assert.match(response.headers.get("cache-control"), /no-store/);
  return oauth.processRefreshTokenResponse(server, client, response);
}

async function credentials(name, more = {}) {
  const { client, auth } = as(name);
  const response = await oauth.clientCredentialsGrantRequest(server, client, auth, new URLSearchParams(more), insecure);
  return oauth.processClientCredentialsResponse(server, client, response);
}

async function exchange(parameters) {
  const { client, auth } = as("exchanger");
  const response = await oauth.genericTokenEndpointRequest(
    server, client, auth, EXCHANGE, new URLSearchParams(parameters), insecure,
  );
  return oauth.processGenericTokenEndpointResponse(server, client, response);
}

async function introspect(token, { jwt = false, accept } = {}) {
  const { client, auth } = as("api");
  const options = { requestJwtResponse: jwt, ...insecure };
  if (accept !== undefined) options.headers = new Headers({ accept });
  const response = await oauth.introspectionRequest(server, client, auth, token, options);
  const claims = await oauth.processIntrospectionResponse(server, client, response);
  if (jwt) await oauth.validateApplicationLevelSignature(server, response, insecure);
  return claims;
}

const fails = (promise, error, status = 400) =>
  assert.rejects(promise, (thrown) => {
    assert.ok(thrown instanceof oauth.ResponseBodyError, String(thrown));
    assert.equal(thrown.error, error);
    assert.equal(thrown.status, status);
    return true;
  });

test("code, PKCE and iss, and the scope in the answer", async () => {
  const tokens = await tokensOf("native");
  assert.match(tokens.access_token, TOKEN.access);
  assert.match(tokens.refresh_token, TOKEN.refresh);
  assert.deepEqual(tokens.scope.split(" ").sort(), clients.native.scope.split(" ").sort());
});

test("the code flow with every way to authenticate", async () => {
  for (const name of ["basic", "chosen", "post", "inline", "remote"]) {
    const tokens = await tokensOf(name);
    assert.equal((await call("/api/orders", tokens.access_token)).status, 200, name);
    const next = await refresh(name, tokens.refresh_token);
    assert.notEqual(next.access_token, tokens.access_token, name);
  }
});

test("an answer without iss, or with another, is refused by the library", async () => {
  const { callback, verifier, state } = await signIn("native");
  for (const iss of [undefined, "https://evil.example"]) {
    const changed = new URL(callback);
    changed.searchParams.delete("iss");
    if (iss !== undefined) changed.searchParams.set("iss", iss);
    await assert.rejects(redeem("native", { callback: changed, verifier, state }), /iss/);
  }
  assert.ok((await redeem("native", { callback, verifier, state })).access_token);
});

test("another client's code and another client's refresh token", async () => {
  const flow = await signIn("basic");
  const parameters = oauth.validateAuthResponse(server, as("basic").client, flow.callback, flow.state);
  const { client, auth } = as("post");
  const response = await oauth.authorizationCodeGrantRequest(
    server, client, auth, parameters, clients.basic.redirectUri, flow.verifier, insecure,
  );
  await fails(oauth.processAuthorizationCodeResponse(server, client, response), "invalid_grant");
  const tokens = await redeem("basic", flow);
  await fails(refresh("post", tokens.refresh_token), "invalid_grant");
});

test("pushed requests", async () => {
  for (const name of ["pushing", "inline", "native"]) {
    assert.match((await tokensOf(name, { push: true })).access_token, TOKEN.access, name);
  }
  const { callback, state } = await signIn("pushing");
  assert.throws(
    () => oauth.validateAuthResponse(server, as("pushing").client, callback, state),
    (thrown) => thrown.error === "invalid_request",
  );
});

test("client credentials", async () => {
  for (const name of ["basic", "chosen", "post", "inline", "remote", "exchanger"]) {
    const tokens = await credentials(name, { scope: "orders:read" });
    assert.match(tokens.access_token, TOKEN.access, name);
    assert.equal(tokens.refresh_token, undefined, name);
  }
  await fails(credentials("basic", { scope: "openid" }), "invalid_scope");
  await fails(credentials("pushing"), "unauthorized_client");
});

test("a challenge for a wrong secret, which the library understands", async () => {
  const { client } = as("basic");
  const response = await oauth.clientCredentialsGrantRequest(
    server, client, oauth.ClientSecretBasic("wrong"), {}, insecure,
  );
  await assert.rejects(oauth.processClientCredentialsResponse(server, client, response), (thrown) => {
    assert.ok(thrown instanceof oauth.WWWAuthenticateChallengeError);
    assert.equal(thrown.status, 401);
    assert.equal(thrown.cause[0].scheme, "basic");
    assert.equal(thrown.cause[0].parameters.realm, "cloakroom");
    return true;
  });
});

test("an assertion for the token endpoint, or used twice, is refused", async () => {
  const { client } = as("inline");
  const grant = async (auth) => {
    const response = await oauth.clientCredentialsGrantRequest(server, client, auth, {}, insecure);
    return oauth.processClientCredentialsResponse(server, client, response);
  };
  const modified = (change) =>
    oauth.PrivateKeyJwt(keys.inline, { [oauth.modifyAssertion]: (_, claims) => change(claims) });
  const denied = (promise) => assert.rejects(promise, (thrown) => thrown.status === 401);
  await denied(grant(modified((claims) => { claims.aud = server.token_endpoint; })));
  await denied(grant(modified((claims) => { claims.aud = [server.issuer, server.token_endpoint]; })));
  await denied(grant(modified((claims) => { claims.exp += 7200; })));
  const once = modified((claims) => { claims.jti = "said-once"; });
  assert.ok((await grant(once)).access_token);
  await denied(grant(once));
});

test("resource and audience narrow, and only what is allowed", async () => {
  const one = await credentials("basic", { resource: "https://api.example.com/orders" });
  assert.equal((await call("/api/orders", one.access_token)).status, 200);
  assert.equal((await call("/api/profile", one.access_token)).status, 403);
  for (const resource of ["https://api.example.com/orders#x", "/orders", "https://evil.example"]) {
    await fails(credentials("basic", { resource }), "invalid_target");
  }
});

test("token exchange, three deep, and never wider", async () => {
  const user = await tokensOf("native");
  const subject = { subject_token: user.access_token, subject_token_type: ACCESS_TOKEN };
  const actor = { actor_token: (await credentials("exchanger")).access_token, actor_token_type: ACCESS_TOKEN };
  const first = await exchange({ ...subject, ...actor });
  assert.equal(first.issued_token_type, ACCESS_TOKEN);
  assert.equal(first.scope, "orders:read", "no more than the client may have");
  const again = await exchange({ subject_token: first.access_token, subject_token_type: ACCESS_TOKEN, ...actor });
  const { act } = await introspect(again.access_token);
  const sub = `client|${clients.exchanger.id}`;
  assert.deepEqual(act, { sub, act: { sub } });
  assert.ok(again.expires_in <= user.expires_in);

  await fails(exchange({ ...subject, scope: "offline_access" }), "invalid_scope");
  await fails(exchange({ ...subject, resource: "https://api.example.com/profile" }), "invalid_target");
  await fails(exchange({ ...subject, actor_token: actor.actor_token }), "invalid_request");
  await fails(exchange({ ...subject, actor_token_type: ACCESS_TOKEN }), "invalid_request");
  await fails(exchange({ ...subject, subject_token_type: "urn:ietf:params:oauth:token-type:saml2" }), "invalid_request");
  await fails(exchange({ subject_token: (await credentials("basic")).access_token, subject_token_type: ACCESS_TOKEN }), "invalid_request");
});

test("a server app's refresh token is worth nothing without its secret", async () => {
  const { refresh_token } = await tokensOf("basic");
  const { client } = as("basic");
  for (const auth of [oauth.None(), oauth.ClientSecretBasic("wrong")]) {
    const response = await oauth.refreshTokenGrantRequest(server, client, auth, refresh_token, insecure);
    await assert.rejects(oauth.processRefreshTokenResponse(server, client, response), (thrown) => thrown.status === 401);
  }
  assert.ok((await refresh("basic", refresh_token)).access_token, "and none of it has burnt it");
});

test("revocation, whatever the hint", async () => {
  const revoke = async (name, token, hint) => {
    const { client, auth } = as(name);
    const options = { additionalParameters: new URLSearchParams(hint ? { token_type_hint: hint } : {}), ...insecure };
    await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, auth, token, options));
  };
  for (const [kind, hint] of [["access_token", "refresh_token"], ["refresh_token", "access_token"], ["access_token", "saml"]]) {
    const hinted = await tokensOf("native");
    await revoke("native", hinted[kind], hint);
    assert.equal((await introspect(hinted.access_token)).active, false, `${kind} as ${hint}`);
  }
  const tokens = await tokensOf("native");
  await revoke("post", tokens.refresh_token);
  assert.equal((await introspect(tokens.access_token)).active, true, "another client's is not revoked");
  await revoke("native", tokens.access_token);
  assert.equal((await introspect(tokens.access_token)).active, false);
  await fails(refresh("native", tokens.refresh_token), "invalid_grant");
  await revoke("inline", "what was never a token");
});

test("introspection in JSON and as a JWT", async () => {
  const user = await tokensOf("native");
  for (const jwt of [false, true]) {
    const active = await introspect(user.access_token, { jwt });
    assert.equal(active.active, true);
    assert.equal(active.sub, "demo|alice");
    assert.equal(active.token_type, "Bearer");
    assert.deepEqual({ ...(await introspect("garbage", { jwt })) }, { active: false });
    assert.deepEqual({ ...(await introspect(user.refresh_token, { jwt })) }, { active: false });
  }
});

test("the access token's JWT, judged by RFC 9068", async () => {
  const user = await tokensOf("native");
  const { who } = as("api");
  const answer = await fetch(server.introspection_endpoint, {
    method: "POST",
    headers: {
      accept: "application/jwt",
      authorization: `Basic ${btoa(`${who.id}:${who.secret}`)}`,
    },
    body: new URLSearchParams({ token: user.access_token }),
  });
  assert.equal(answer.status, 200);
  const request = new Request(at("/api/orders"), { headers: { authorization: `Bearer ${await answer.text()}` } });
  const claims = await oauth.validateJwtAccessToken(server, request, "orders", insecure);
  assert.equal(claims.sub, "demo|alice");
  assert.equal(claims.client_id, clients.native.id);
  assert.ok(claims.jti && claims.iat && claims.exp);
  await assert.rejects(oauth.validateJwtAccessToken(server, request, "profile", insecure));
});

test("DPoP: a machine's token, its nonce, and its proof", async () => {
  for (const alg of ["ES256", "PS256", "Ed25519"]) {
    const { client, auth } = as("basic");
    const DPoP = oauth.DPoP(client, await oauth.generateKeyPair(alg));
    const grant = async () => {
      const response = await oauth.clientCredentialsGrantRequest(server, client, auth, {}, { DPoP, ...insecure });
      return oauth.processClientCredentialsResponse(server, client, response);
    };
    const tokens = await grant().catch((error) => {
      assert.ok(oauth.isDPoPNonceError(error), String(error));
      return grant();
    });
    assert.equal(tokens.token_type, "dpop", alg);
    const ask = (token) =>
      oauth.protectedResourceRequest(token, "GET", at("/api/orders"), undefined, undefined, { DPoP, ...insecure });
    const answer = await ask(tokens.access_token).catch((error) => {
      assert.ok(oauth.isDPoPNonceError(error), String(error));
      return ask(tokens.access_token);
    });
    assert.equal(answer.status, 200, alg);
    assert.equal((await call("/api/orders", tokens.access_token)).status, 401, "as a bearer token");
    await assert.rejects(ask((await credentials("basic")).access_token), undefined, "a bearer token with a proof");
    assert.ok(server.dpop_signing_alg_values_supported.includes(alg));
  }
});

await run();
