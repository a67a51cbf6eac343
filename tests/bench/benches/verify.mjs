// The same verifications with `jose`: node tests/bench/benches/verify.mjs
import { SignJWT, createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';

const ISSUER = 'https://app.example.com';
const SECONDS = 2;

for (const alg of ['RS256', 'PS256', 'ES256', 'EdDSA']) {
  const { publicKey, privateKey } = await generateKeyPair(alg, alg === 'EdDSA' ? { crv: 'Ed25519' } : { modulusLength: 2048 });
  const jwt = await new SignJWT({
    client_id: 'app', scope: 'openid profile orders:read', name: 'Alice Example',
    email: 'alice@example.com', roles: ['admin', 'user'],
  })
    .setProtectedHeader({ alg, typ: 'at+jwt', kid: 'bench' })
    .setIssuer(ISSUER).setSubject('demo|alice').setAudience('orders').setJti('a-jti-of-22-characters')
    .setIssuedAt().setNotBefore('0s').setExpirationTime('10m').sign(privateKey);
  const keys = createLocalJWKSet({ keys: [{ ...await exportJWK(publicKey), kid: 'bench', alg }] });
  const expected = { issuer: ISSUER, audience: 'orders', typ: 'at+jwt', algorithms: [alg], clockTolerance: 60 };
  for (let n = 0; n < 200; n += 1) await jwtVerify(jwt, keys, expected);
  const begun = performance.now();
  let count = 0;
  while (performance.now() - begun < SECONDS * 1000) {
    await jwtVerify(jwt, keys, expected);
    count += 1;
  }
  console.log(`verify/${alg}  ${((performance.now() - begun) * 1000 / count).toFixed(1)} µs  ${Math.round(count / SECONDS)}/s`);
}
