// Every grant with openid-client, as its documentation says, over http on a loopback
// address (`allowInsecureRequests`), which is the only thing here that is not production.
import { strict as assert } from "node:assert";
import * as client from "openid-client";
import { Browser, TOKEN, at, call, issuer, privateKey, run, suite, test } from "./suite.mjs";

const { clients } = suite;
const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token";
const JWT = "urn:ietf:params:oauth:token-type:jwt";
const ORDERS = "https://api.example.com/orders";

function discover(who, authentication, metadata = {}) {
  return client.discovery(issuer, who.id, metadata, authentication, {
    algorithm: "oauth2",
    execute: [client.allowInsecureRequests],
  });
}

const as = {
  native: () => discover(clients.native, client.None()),
  basic: () => discover(clients.basic, client.ClientSecretBasic(clients.basic.secret)),
  chosen: () => discover(clients.chosen, client.ClientSecretBasic(clients.chosen.secret)),
  post: () => discover(clients.post, client.ClientSecretPost(clients.post.secret)),
  inline: async () => discover(clients.inline, client.PrivateKeyJwt(await privateKey(clients.inline.key))),
  remote: async () => discover(clients.remote, client.PrivateKeyJwt(await privateKey(clients.remote.key))),
  pushing: () => discover(clients.pushing, client.ClientSecretBasic(clients.pushing.secret)),
  exchanger: () => discover(clients.exchanger, client.ClientSecretBasic(clients.exchanger.secret)),
  api: (metadata) => discover(clients.api, client.ClientSecretBasic(clients.api.secret), metadata),
};

/** The code flow, from the authorization URL to the tokens. */
async function signIn(config, who, { scope = who.scope, push = false, more = {}, browser = new Browser() } = {}) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const parameters = {
    redirect_uri: who.redirectUri,
    scope,
    state: expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    ...more,
  };
  const url = push
    ? await client.buildAuthorizationUrlWithPAR(config, parameters)
    : client.buildAuthorizationUrl(config, parameters);
  const callback = await browser.authorize(url, who.redirectUri);
  const checks = { pkceCodeVerifier, expectedState };
  return { url, callback, checks, grant: () => client.authorizationCodeGrant(config, callback, checks) };
}

const fails = (promise, error, status = 400) =>
  assert.rejects(promise, (thrown) => {
    assert.equal(thrown.error, error, String(thrown));
    assert.equal(thrown.status, status);
    return true;
  });

test("the metadata is found where RFC 8414 says, and says what this client needs", async () => {
  const metadata = (await as.native()).serverMetadata();
  assert.equal(metadata.issuer, suite.issuer);
  assert.ok(metadata.supportsPKCE());
  assert.equal(metadata.authorization_response_iss_parameter_supported, true);
  for (const name of ["authorization", "token", "revocation", "introspection", "pushed_authorization_request"]) {
    assert.equal(new URL(metadata[`${name}_endpoint`]).origin, issuer.origin, name);
  }
});

test("a native app signs a user in by code, PKCE and iss, and calls an API", async () => {
  const { grant, callback } = await signIn(await as.native(), clients.native);
  assert.equal(callback.searchParams.get("iss"), suite.issuer);
  const tokens = await grant();
  assert.match(tokens.access_token, TOKEN.access);
  assert.match(tokens.refresh_token, TOKEN.refresh);
  assert.equal(tokens.token_type, "bearer");
  assert.ok(tokens.expiresIn() > 0);
  const answer = await call("/api/profile", tokens.access_token);
  assert.equal(answer.status, 200);
  const { claims } = await answer.json();
  assert.equal(claims.sub, "demo|alice");
  assert.equal(claims.client_id, clients.native.id);
});

test("no refresh token without offline_access", async () => {
  const { grant } = await signIn(await as.native(), clients.native, { scope: "orders:read" });
  const tokens = await grant();
  assert.equal(tokens.refresh_token, undefined);
});

test("a server app signs a user in without being asked about", async () => {
  for (const [name, who] of [["basic", clients.basic], ["post", clients.post], ["inline", clients.inline], ["remote", clients.remote]]) {
    const { grant } = await signIn(await as[name](), who);
    const tokens = await grant();
    assert.match(tokens.refresh_token, TOKEN.refresh, name);
    assert.equal((await call("/api/orders", tokens.access_token)).status, 200, name);
  }
});

test("a second sign-in uses the browser's session only where there is one", async () => {
  const config = await as.basic();
  const browser = new Browser();
  await (await signIn(config, clients.basic, { browser })).grant();
  const silent = await signIn(config, clients.basic, { more: { prompt: "none" }, browser });
  // A native sign-in starts no browser session, so nobody is there.
  assert.equal(silent.callback.searchParams.get("error"), "login_required");
  await assert.rejects(silent.grant(), (thrown) => thrown.error === "login_required");
});

test("a user who says no is an error of the library's own kind", async () => {
  const config = await as.native();
  const expectedState = client.randomState();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: clients.native.redirectUri,
    scope: "orders:read",
    state: expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()),
    code_challenge_method: "S256",
  });
  const callback = await new Browser().authorize(url, clients.native.redirectUri, "alice", "deny");
  await assert.rejects(
    client.authorizationCodeGrant(config, callback, { expectedState }),
    (thrown) => thrown instanceof client.AuthorizationResponseError && thrown.error === "access_denied",
  );
});

test("an answer in another issuer's name is refused by the library", async () => {
  const { callback, checks } = await signIn(await as.native(), clients.native);
  const config = await as.native();
  for (const iss of [undefined, "https://evil.example"]) {
    const changed = new URL(callback);
    changed.searchParams.delete("iss");
    if (iss !== undefined) changed.searchParams.set("iss", iss);
    await assert.rejects(client.authorizationCodeGrant(config, changed, checks), (thrown) => /iss/.test(thrown.cause.message));
  }
  assert.ok((await client.authorizationCodeGrant(config, callback, checks)).access_token);
});

test("a refresh gives a new pair, with all or part of the scope", async () => {
  for (const [name, who] of [["native", clients.native], ["basic", clients.basic], ["inline", clients.inline]]) {
    const config = await as[name]();
    const first = await (await signIn(config, who)).grant();
    const second = await client.refreshTokenGrant(config, first.refresh_token);
    assert.match(second.access_token, TOKEN.access);
    assert.notEqual(second.access_token, first.access_token, name);
    assert.notEqual(second.refresh_token, first.refresh_token, name);
    assert.equal(second.scope, first.scope, "RFC 6749 §6");
    const narrow = await client.refreshTokenGrant(config, second.refresh_token, { scope: "orders:read" });
    assert.equal(narrow.scope, "orders:read");
    const whole = await client.refreshTokenGrant(config, narrow.refresh_token);
    assert.equal(whole.scope, first.scope, "a narrower access token narrows no grant");
    await fails(client.refreshTokenGrant(config, whole.refresh_token, { scope: "orders:read admin" }), "invalid_scope");
  }
});

test("refreshing again after a lost answer gives the same pair", async () => {
  const config = await as.native();
  const first = await (await signIn(config, clients.native)).grant();
  const lost = await client.refreshTokenGrant(config, first.refresh_token);
  const again = await client.refreshTokenGrant(config, first.refresh_token);
  assert.equal(again.access_token, lost.access_token);
  assert.equal(again.refresh_token, lost.refresh_token);
});

test("a refresh token of an older generation ends the login", async () => {
  const config = await as.native();
  const first = await (await signIn(config, clients.native)).grant();
  const second = await client.refreshTokenGrant(config, first.refresh_token);
  const third = await client.refreshTokenGrant(config, second.refresh_token);
  await fails(client.refreshTokenGrant(config, first.refresh_token), "invalid_grant");
  await fails(client.refreshTokenGrant(config, third.refresh_token), "invalid_grant");
  assert.equal((await call("/api/orders", third.access_token)).status, 401);
});

test("a code presented twice takes back what it gave", async () => {
  const config = await as.native();
  const { callback, checks } = await signIn(config, clients.native);
  const tokens = await client.authorizationCodeGrant(config, callback, checks);
  assert.equal((await call("/api/orders", tokens.access_token)).status, 200);
  await fails(client.authorizationCodeGrant(config, callback, checks), "invalid_grant");
  assert.equal((await call("/api/orders", tokens.access_token)).status, 401);
});

test("a code is worth nothing with another verifier", async () => {
  const config = await as.native();
  const { callback, checks } = await signIn(config, clients.native);
  const other = { ...checks, pkceCodeVerifier: client.randomPKCECodeVerifier() };
  await fails(client.authorizationCodeGrant(config, callback, other), "invalid_grant");
  assert.ok((await client.authorizationCodeGrant(config, callback, checks)).access_token, "it burnt nothing");
});

test("client credentials with every way to authenticate", async () => {
  for (const name of ["basic", "chosen", "post", "inline", "remote"]) {
    const tokens = await client.clientCredentialsGrant(await as[name](), { scope: "orders:read" });
    assert.equal(tokens.scope, "orders:read", name);
    assert.equal(tokens.refresh_token, undefined, name);
    const answer = await call("/api/orders", tokens.access_token);
    assert.equal(answer.status, 200, name);
    assert.equal((await answer.json()).subject, `client|${clients[name].id}`);
  }
});

test("who does not prove who it is gets a challenge", async () => {
  const wrong = await discover(clients.basic, client.ClientSecretBasic("wrong"));
  await assert.rejects(client.clientCredentialsGrant(wrong), (thrown) => {
    assert.ok(thrown instanceof client.WWWAuthenticateChallengeError);
    assert.equal(thrown.status, 401);
    return true;
  });
  const stolen = await discover(clients.inline, client.PrivateKeyJwt(await privateKey(clients.remote.key)));
  await assert.rejects(client.clientCredentialsGrant(stolen), (thrown) => thrown.status === 401);
});

test("pushed requests, by who must push and by who may", async () => {
  for (const name of ["pushing", "inline", "native"]) {
    const { url, grant } = await signIn(await as[name](), clients[name], { push: true });
    assert.deepEqual([...url.searchParams.keys()].sort(), ["client_id", "request_uri"]);
    assert.match((await grant()).access_token, TOKEN.access, name);
  }
  const unpushed = await signIn(await as.pushing(), clients.pushing);
  await assert.rejects(unpushed.grant(), (thrown) => thrown.error === "invalid_request");
});

test("a pushed request is good for one code", async () => {
  const config = await as.pushing();
  const { url } = await signIn(config, clients.pushing, { push: true });
  const again = await new Browser().authorize(url, clients.pushing.redirectUri);
  assert.equal(again.searchParams.get("error"), "invalid_request_uri");
});

test("resource makes a token for one audience", async () => {
  const config = await as.native();
  const { grant } = await signIn(config, clients.native, { more: { resource: ORDERS } });
  const tokens = await grant();
  assert.equal((await call("/api/orders", tokens.access_token)).status, 200);
  assert.equal((await call("/api/profile", tokens.access_token)).status, 403);
  await fails(
    client.refreshTokenGrant(config, tokens.refresh_token, { resource: "https://api.example.com/profile" }),
    "invalid_target",
  );
});

test("token exchange: in the subject's place, and on its behalf", async () => {
  const config = await as.exchanger();
  const user = await (await signIn(await as.native(), clients.native)).grant();
  const subject = { subject_token: user.access_token, subject_token_type: ACCESS_TOKEN };
  const plain = await client.genericGrantRequest(config, EXCHANGE, { ...subject, resource: ORDERS });
  assert.equal(plain.issued_token_type, ACCESS_TOKEN);
  assert.equal(plain.refresh_token, undefined);
  const seen = await (await call("/api/orders", plain.access_token)).json();
  assert.equal(seen.subject, "demo|alice");
  const api = await as.api();
  assert.equal((await client.tokenIntrospection(api, plain.access_token)).act, undefined);

  const own = await client.clientCredentialsGrant(config);
  const delegated = await client.genericGrantRequest(config, EXCHANGE, {
    ...subject,
    actor_token: own.access_token,
    actor_token_type: ACCESS_TOKEN,
    scope: "orders:read",
  });
  assert.equal((await call("/api/orders", delegated.access_token)).status, 200);
  const { act } = await client.tokenIntrospection(api, delegated.access_token);
  assert.deepEqual(act, { sub: `client|${clients.exchanger.id}` });

  await fails(client.genericGrantRequest(config, EXCHANGE, { ...subject, audience: "profile" }), "invalid_target");
  await fails(client.genericGrantRequest(config, EXCHANGE, { ...subject, scope: "profile" }), "invalid_scope");
  await fails(
    client.genericGrantRequest(config, EXCHANGE, { ...subject, subject_token: user.refresh_token }),
    "invalid_request",
  );
  await client.tokenRevocation(await as.native(), user.refresh_token);
  assert.equal((await call("/api/orders", delegated.access_token)).status, 401, "it dies with its subject");
});

test("token exchange of an ID token that the library has got from the provider", async () => {
  const { provider } = suite;
  const rp = await client.discovery(
    new URL(provider.issuer), provider.id, {}, client.ClientSecretBasic(provider.secret), { execute: [client.allowInsecureRequests] },
  );
  const nonce = client.randomNonce();
  const { callback, checks } = await signIn(rp, provider, { more: { nonce } });
  const { id_token } = await client.authorizationCodeGrant(rp, callback, { ...checks, expectedNonce: nonce });
  const config = await as.exchanger();
  for (const subject_token_type of [ID_TOKEN, JWT]) {
    const subject = { subject_token: id_token, subject_token_type };
    const tokens = await client.genericGrantRequest(config, EXCHANGE, { ...subject, resource: ORDERS });
    assert.equal(tokens.issued_token_type, ACCESS_TOKEN);
    assert.equal(tokens.refresh_token, undefined);
    const seen = await (await call("/api/orders", tokens.access_token)).json();
    assert.equal(seen.subject, "demo|alice");
    const [header, claims] = id_token.split(".");
    for (const forged of [`${header}.${claims}.AAAA`, `${btoa('{"alg":"none"}')}.${claims}.`]) {
      await fails(client.genericGrantRequest(config, EXCHANGE, { ...subject, subject_token: forged }), "invalid_request");
    }
  }
  const wrong = { subject_token: id_token, subject_token_type: ACCESS_TOKEN };
  await fails(client.genericGrantRequest(config, EXCHANGE, wrong), "invalid_request");
});

test("revocation of a refresh token, and of an access token", async () => {
  for (const kind of ["refresh_token", "access_token"]) {
    const config = await as.native();
    const tokens = await (await signIn(config, clients.native)).grant();
    await client.tokenRevocation(config, tokens[kind], { token_type_hint: kind });
    await client.tokenRevocation(config, tokens[kind]);
    assert.equal((await call("/api/orders", tokens.access_token)).status, 401, kind);
    await fails(client.refreshTokenGrant(config, tokens.refresh_token), "invalid_grant");
  }
  await client.tokenRevocation(await as.basic(), "what was never a token");
});

test("introspection in JSON", async () => {
  const config = await as.api();
  const user = await (await signIn(await as.native(), clients.native)).grant();
  const active = await client.tokenIntrospection(config, user.access_token);
  assert.equal(active.active, true);
  assert.equal(active.sub, "demo|alice");
  assert.equal(active.client_id, clients.native.id);
  for (const token of [user.refresh_token, "garbage"]) {
    assert.deepEqual({ ...(await client.tokenIntrospection(config, token)) }, { active: false });
  }
});

test("introspection as a JWT whose signature the library checks", async () => {
  const config = await as.api({ introspection_signed_response_alg: suite.alg });
  client.enableNonRepudiationChecks(config);
  const machine = await client.clientCredentialsGrant(await as.basic());
  const active = await client.tokenIntrospection(config, machine.access_token);
  assert.equal(active.sub, `client|${clients.basic.id}`);
  assert.deepEqual({ ...(await client.tokenIntrospection(config, "garbage")) }, { active: false });
});

test("DPoP: tokens bound to a key, by nonce, refreshed, and worth nothing without it", async () => {
  const config = await as.native();
  const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));
  const { callback, checks } = await signIn(config, clients.native);
  const tokens = await client.authorizationCodeGrant(config, callback, checks, undefined, { DPoP });
  assert.equal(tokens.token_type, "dpop");
  const fetchOrders = (token, options) =>
    client.fetchProtectedResource(config, token, at("/api/orders"), "GET", null, new Headers(), options);
  assert.equal((await fetchOrders(tokens.access_token, { DPoP })).status, 200);
  assert.equal((await call("/api/orders", tokens.access_token)).status, 401, "as a bearer token");
  const stranger = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));
  await assert.rejects(fetchOrders(tokens.access_token, { DPoP: stranger }), (thrown) => thrown.status === 401);
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token));
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP: stranger }));
  const next = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
  assert.equal((await fetchOrders(next.access_token, { DPoP })).status, 200);
  const said = await client.tokenIntrospection(await as.api(), next.access_token);
  assert.deepEqual(said.cnf, { jkt: await DPoP.calculateThumbprint() });
  assert.equal(said.token_type, "DPoP");
});

test("DPoP: a code that was pushed with a key is redeemed with that key alone", async () => {
  for (const name of ["native", "pushing"]) {
    const config = await as[name]();
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair("Ed25519"));
    const pkceCodeVerifier = client.randomPKCECodeVerifier();
    const expectedState = client.randomState();
    const url = await client.buildAuthorizationUrlWithPAR(config, {
      redirect_uri: clients[name].redirectUri,
      scope: clients[name].scope,
      state: expectedState,
      code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: "S256",
    }, { DPoP });
    const callback = await new Browser().authorize(url, clients[name].redirectUri);
    const checks = { pkceCodeVerifier, expectedState };
    const stranger = client.getDPoPHandle(config, await client.randomDPoPKeyPair("Ed25519"));
    await assert.rejects(client.authorizationCodeGrant(config, callback, checks, undefined, { DPoP: stranger }));
    const tokens = await client.authorizationCodeGrant(config, callback, checks, undefined, { DPoP });
    assert.equal(tokens.token_type, "dpop", name);
  }
});

await run();
