// `oidc-provider`: a certified OpenID provider that nobody here wrote, with users of its
// own. Its sign-in page is ours, because the one that it comes with loads a font from the
// internet; everything else is the library's.

import { generateKeyPair, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import Provider, { interactionPolicy } from 'oidc-provider';

export const CLIENT = 'cloakroom-at-certified';
/** What a second factor is called here. */
export const STRONG = 'urn:example:two-factors';
const WEAK = 'urn:example:password';

const USERS = {
  carol: { name: 'Carol Certified', email: 'carol@example.org', roles: ['admin', 'user'] },
  dave: { name: 'Dave Certified', email: 'dave@example.org', roles: ['user'] },
};

const { Check } = interactionPolicy;
const generate = promisify(generateKeyPair);

/**
 * Listens at once, so that its issuer is known; answers after `serve`. `rotate` changes
 * its signing key as a careless operator would: the old one is gone the same moment.
 */
export async function startCertifiedProvider() {
  let handler = (request, response) => response.writeHead(503).end();
  const server = createServer((request, response) => handler(request, response));
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const adapter = memory();
  const cookieKey = randomBytes(32).toString('hex');
  /** Requests that it got, and events: `POST /request`, `backchannel.success`. */
  const seen = [];
  let options;

  async function install() {
    const { privateKey } = await generate('rsa', { modulusLength: 2048 });
    const key = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: randomBytes(8).toString('hex') };
    const provider = new Provider(issuer, configuration(key));
    for (const event of ['backchannel.success', 'backchannel.error', 'server_error']) {
      provider.on(event, (ctx, error) => seen.push(`${event}${error instanceof Error ? ` ${error.message}` : ''}`));
    }
    const library = provider.callback();
    handler = (request, response) => {
      seen.push(`${request.method} ${request.url.split('?')[0]}`);
      const uid = /^\/interaction\/([\w-]+)$/.exec(request.url)?.[1];
      if (!uid) return library(request, response);
      return interact(provider, request, response).catch((error) => {
        seen.push(`interaction failed: ${error.message}`);
        response.writeHead(500).end();
      });
    };
  }

  function configuration(key) {
    const { url } = options;
    const policy = interactionPolicy.base();
    policy.get('login').checks.add(new Check('too_weak', 'a stronger sign-in is asked for', ({ oidc }) => {
      const wanted = oidc.params.acr_values?.split(' ').includes(STRONG);
      return wanted && oidc.session.acr !== STRONG ? Check.REQUEST_PROMPT : Check.NO_NEED_TO_PROMPT;
    }));
    return {
      jwks: { keys: [key] },
      cookies: { keys: [cookieKey] },
      adapter,
      acrValues: [WEAK, STRONG],
      scopes: ['openid', 'profile', 'email', 'roles', 'offline_access'],
      claims: { profile: ['name'], email: ['email'], roles: ['roles'] },
      // By the book, claims are at UserInfo when there is an access token.
      conformIdTokenClaims: true,
      clients: [{
        client_id: CLIENT,
        client_name: 'Cloakroom',
        // There is no secret: we sign, and this is where our key is published.
        token_endpoint_auth_method: 'private_key_jwt',
        token_endpoint_auth_signing_alg: 'RS256',
        jwks_uri: `${url}/.well-known/client-jwks.json`,
        require_pushed_authorization_requests: true,
        redirect_uris: [`${url}/auth/callback`],
        post_logout_redirect_uris: [`${url}/`],
        grant_types: ['authorization_code', 'refresh_token'],
        backchannel_logout_uri: `${url}/auth/backchannel-logout`,
        backchannel_logout_session_required: true,
      }],
      features: {
        devInteractions: { enabled: false },
        backchannelLogout: { enabled: true },
        pushedAuthorizationRequests: { enabled: true },
        revocation: { enabled: true },
        rpInitiatedLogout: {
          logoutSource: (ctx, form) => {
            ctx.body = page('Sign out?', `${form}<button type="submit" form="op.logoutForm" name="logout" value="yes">Yes, sign me out</button>`);
          },
          postLogoutSuccessSource: (ctx) => { ctx.body = page('Signed out', ''); },
        },
      },
      interactions: { policy, url: (ctx, { uid }) => `/interaction/${uid}` },
      findAccount: (ctx, id) => USERS[id] && {
        accountId: id,
        claims: () => ({ sub: id, ...USERS[id] }),
      },
      // This client is the company's own: nobody is asked for consent.
      async loadExistingGrant(ctx) {
        const grant = new ctx.oidc.provider.Grant({
          accountId: ctx.oidc.session.accountId, clientId: ctx.oidc.client.clientId,
        });
        grant.addOIDCScope('openid profile email roles offline_access');
        await grant.save();
        return grant;
      },
      issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
      renderError: (ctx, out) => { ctx.body = page('This did not work', `<pre>${escape(JSON.stringify(out))}</pre>`); },
      // The library refuses to call loopback addresses, where everything here is, and has
      // two seconds of patience, which a busy machine does not.
      fetch: (url, { dispatcher, signal, ...rest }) => fetch(url, { ...rest, signal: AbortSignal.timeout(60_000) }),
      ttl: { AccessToken: 600, Grant: 86_400, IdToken: 600, Interaction: 600, Session: 86_400, RefreshToken: 86_400 },
    };
  }

  return {
    issuer,
    seen,
    async serve(chosen) {
      options = chosen;
      await install();
    },
    rotate: install,
    stop() {
      server.closeAllConnections();
      return new Promise((resolve) => { server.close(resolve); });
    },
  };
}

/** The library's own memory does not outlive the change of its keys. */
function memory() {
  const records = new Map();
  return class {
    constructor(kind) {
      this.key = (id) => `${kind}:${id}`;
    }

    async upsert(id, payload) { records.set(this.key(id), payload); }

    async find(id) { return records.get(this.key(id)); }

    async findByUid(uid) { return [...records.values()].find((payload) => payload.kind === 'Session' && payload.uid === uid); }

    async findByUserCode() { return undefined; }

    async consume(id) { records.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }

    async destroy(id) { records.delete(this.key(id)); }

    async revokeByGrantId(grantId) {
      for (const [key, payload] of records) if (payload.grantId === grantId) records.delete(key);
    }
  };
}

/** Shows the sign-in form, and takes what it sends. */
async function interact(provider, request, response) {
  const { params, prompt } = await provider.interactionDetails(request, response);
  if (prompt.name !== 'login') throw new Error(`the prompt ${prompt.name} was not expected`);
  const strong = params.acr_values?.split(' ').includes(STRONG) ?? false;
  if (request.method === 'GET') {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
    response.end(page('Sign in at the certified provider', form(strong)));
    return;
  }
  const sent = new URLSearchParams(await text(request));
  const result = sent.has('cancel')
    ? { error: 'access_denied', error_description: '<script>alert(1)</script> the person said no' }
    : { login: { accountId: sent.get('username'), acr: strong ? STRONG : WEAK } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

function form(strong) {
  return `<form method="post">
    <p><label>User name <input name="username" autofocus required></label></p>
    ${strong ? '<p><label>Code from your device <input name="code" required></label></p>' : ''}
    <p><button>Sign in</button> <button name="cancel" value="yes" formnovalidate>Cancel</button></p>
  </form>`;
}

function page(title, main) {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${title}</title>
    <style>:root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}body{max-width:32rem;margin:10vh auto;padding:0 1rem}</style>
    </head><body><main><h1>${title}</h1>${main}</main></body></html>`;
}

function escape(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** The lines of `cloakroom.toml` that name this provider. */
export function certifiedProvider(issuer) {
  return `[[identity_providers]]
id = "certified"
name = "Certified provider"
issuer = "${issuer}"
client_id = "${CLIENT}"
client_authentication = "private_key_jwt"
par = "always"
scopes = ["openid", "profile", "email", "roles"]
`;
}
