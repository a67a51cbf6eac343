// Verifies JWTs with `jose`, as a service would: from the published keys alone.
// Reads one question per line, {keys, jwts, now, issuer, audience}, and answers each
// with a line: the list of what was wrong, one entry per JWT, null if nothing was.
import { createInterface } from 'node:readline';
import { createLocalJWKSet, jwtVerify } from 'jose';

for await (const line of createInterface({ input: process.stdin })) {
  const { keys, jwts, now, issuer, audience } = JSON.parse(line);
  const set = createLocalJWKSet({ keys });
  const options = {
    issuer,
    audience,
    typ: 'at+jwt',
    clockTolerance: 60,
    currentDate: new Date(now * 1000),
    requiredClaims: ['exp', 'iat', 'jti', 'sub', 'client_id'],
  };
  const faults = [];
  for (const jwt of jwts) {
    faults.push(await jwtVerify(jwt, set, options).then(() => null, (error) => error.code ?? String(error)));
  }
  process.stdout.write(`${JSON.stringify(faults)}\n`);
}
