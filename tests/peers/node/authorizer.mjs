// A phantom-token authorizer as a team would write it in Node, and write well: clients made once,
// connections kept, token looked up by its hash, JWT from memory, else from the item, else signed.
import { createHash, randomUUID } from 'node:crypto';
import { DynamoDBClient, GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { KMSClient, SignCommand } from '@aws-sdk/client-kms';
import { run } from './runtime.mjs';

const { CLOAKROOM_TABLE: TableName, CLOAKROOM_SIGNING_KEYS: KeyId, CLOAKROOM_ISSUER: iss } = process.env;
const dynamodb = new DynamoDBClient();
const kms = new KMSClient();
const TOKEN = /^Bearer (cr_at_[A-Za-z0-9_-]{64}[0-9A-Za-z]{6})$/;
const MEMORY_MS = 60_000;
const LEAST_LIFE = 90;
const memory = new Map();

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

async function sign(item, now) {
  const exp = Math.min(now + 600, Number(item.exp.N));
  const input = `${part({ alg: 'RS256', typ: 'at+jwt', kid: KeyId.split('/').pop() })}.${part({
    iss, sub: item.sub.S, aud: 'orders', client_id: item.client_id.S, scope: item.scope.S,
    iat: now, nbf: now, exp, jti: randomUUID(),
  })}`;
  const { Signature } = await kms.send(new SignCommand({
    KeyId,
    Message: createHash('sha256').update(input).digest(),
    MessageType: 'DIGEST',
    SigningAlgorithm: 'RSASSA_PKCS1_V1_5_SHA_256',
  }));
  return { jwt: `${input}.${Buffer.from(Signature).toString('base64url')}`, exp };
}

async function identityOf(token, now) {
  const digest = createHash('sha256').update(token).digest('base64url');
  const known = memory.get(digest);
  if (known && Date.now() - known.readAt < MEMORY_MS && known.exp - now > LEAST_LIFE) return known;
  const Key = { pk: { S: `peer#${digest}` }, sk: { S: 'peer' } };
  const { Item: item } = await dynamodb.send(new GetItemCommand({ TableName, Key, ConsistentRead: true }));
  if (!item || item.state.S !== 'active' || Number(item.exp.N) <= now) throw new Error('Unauthorized');
  let signed = { jwt: item.jwt?.S, exp: Number(item.jwt_exp?.N ?? 0) };
  if (signed.exp - now <= LEAST_LIFE) {
    signed = await sign(item, now);
    await dynamodb.send(new UpdateItemCommand({
      TableName, Key,
      UpdateExpression: 'SET jwt = :jwt, jwt_exp = :exp',
      ConditionExpression: '#state = :active',
      ExpressionAttributeNames: { '#state': 'state' },
      ExpressionAttributeValues: { ':jwt': { S: signed.jwt }, ':exp': { N: String(signed.exp) }, ':active': { S: 'active' } },
    }));
  }
  const identity = { ...signed, sub: item.sub.S, scope: item.scope.S, client_id: item.client_id.S, readAt: Date.now() };
  if (memory.size >= 4_000) memory.clear();
  memory.set(digest, identity);
  return identity;
}

const ROUTES = { 'GET /api/orders': 'orders:read' };

await run(async (event) => {
  const headers = Object.entries(event.headers ?? {}).filter(([name]) => name.toLowerCase() === 'authorization');
  const match = headers.length === 1 && TOKEN.exec(headers[0][1]);
  if (!match) throw new Error('Unauthorized');
  const identity = await identityOf(match[1], Math.floor(Date.now() / 1000));
  const scope = ROUTES[`${event.httpMethod} ${event.resource}`];
  const allowed = scope && identity.scope.split(' ').includes(scope);
  const [arn, stage] = event.methodArn.split('/');
  console.log(JSON.stringify({ outcome: allowed ? 'allowed' : 'forbidden', request_id: event.requestContext.requestId }));
  return {
    principalId: createHash('sha256').update(identity.sub).digest('base64url').slice(0, 16),
    policyDocument: {
      Version: '2012-10-17',
      Statement: [{ Action: 'execute-api:Invoke', Effect: allowed ? 'Allow' : 'Deny', Resource: `${arn}/${stage}/*` }],
    },
    context: allowed ? { authorization: `Bearer ${identity.jwt}`, client_id: identity.client_id, scope: identity.scope } : undefined,
  };
});
