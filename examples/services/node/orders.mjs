// The orders service, in Node with `jose`. npm install jose; node orders.mjs
//
// The gateway has judged scope and role already. This service judges again: a request may come
// past the gateway, and a signature is worth more than a network.
import { createServer } from 'node:http';
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';

const { ISSUER, AUDIENCE, JWKS_URL, PORT } = process.env;
for (const [name, value] of Object.entries({ ISSUER, AUDIENCE, JWKS_URL, PORT })) {
  if (!value) throw new Error(`${name} is not set`);
}

// Fetches once, caches, and asks again for an unknown kid at most every 30 seconds.
const keys = createRemoteJWKSet(new URL(JWKS_URL));

const expected = {
  issuer: ISSUER,
  audience: AUDIENCE,
  typ: 'at+jwt', // no other kind of JWT passes for an access token (RFC 9068 §4)
  algorithms: ['RS256'], // what Cloakroom is configured to sign with
  requiredClaims: ['sub', 'client_id', 'exp', 'nbf', 'iat', 'jti'],
  clockTolerance: 60,
};

const routes = {
  'GET /api/orders': {
    allows: (claims) => (claims.scope ?? '').split(' ').includes('orders:read'),
    answer: (claims) => ({ subject: claims.sub, name: claims.name, orders: ['1001', '1002'] }),
  },
  'GET /api/reports': {
    allows: (claims) => (claims.roles ?? []).includes('admin'),
    answer: (claims) => ({ subject: claims.sub, email: claims.email, revenue: 213.5 }),
  },
};

// Whether an error speaks about the token, and not about the key set or the network. That an
// empty set has no matching key is no fault of the token's.
const isRefusal = (error) =>
  error instanceof errors.JOSEError
  && !(error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid)
  && !(error instanceof errors.JWKSNoMatchingKey && !keys.jwks()?.keys.some(isUsable))
  && error.code !== 'ERR_JOSE_GENERIC';
const isUsable = (key) => key.kty === 'RSA' && key.use !== 'enc';

async function claimsOf(request) {
  const [, token] = /^Bearer ([\w.-]+)$/i.exec(request.headers.authorization ?? '') ?? [];
  if (!token) return null;
  const { payload } = await jwtVerify(token, keys, expected);
  // One audience: a token for several services could be replayed by one at another.
  return payload.aud === AUDIENCE ? payload : null;
}

createServer(async (request, response) => {
  const send = (status, body, headers = {}) =>
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers })
      .end(JSON.stringify(body));
  let claims;
  try {
    claims = await claimsOf(request);
  } catch (error) {
    // No key, no verdict: that is our trouble and not the caller's.
    if (!isRefusal(error)) return send(503, { error: 'temporarily_unavailable' });
  }
  if (!claims) {
    return send(401, { error: 'invalid_token' }, { 'www-authenticate': 'Bearer error="invalid_token"' });
  }
  // Not `new URL`: it throws for a target such as `//`.
  const route = routes[`${request.method} ${request.url.split('?')[0]}`];
  if (!route) return send(404, { error: 'not_found' });
  if (!route.allows(claims)) return send(403, { error: 'insufficient_scope' });
  return send(200, route.answer(claims));
}).listen(Number(PORT), '127.0.0.1');
