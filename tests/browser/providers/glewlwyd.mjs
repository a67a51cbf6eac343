// Glewlwyd, from Debian: a provider in C by other people, set up through its own
// administration API, on a database of its own in a temporary directory.

import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const PROGRAM = '/usr/bin/glewlwyd';
const TABLES = '/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3';
const PAGES = '/usr/share/glewlwyd/webapp';

/** Why it cannot be had here, or false. */
export const missing = [PROGRAM, TABLES, PAGES].every((file) => existsSync(file))
  ? false
  : 'glewlwyd is not installed: on Debian, `apt-get install glewlwyd`';

export const SECRET = 'only-for-this-test-run';
export const USER = { username: 'erin', password: randomBytes(12).toString('hex'), name: 'Erin Elsewhere', email: 'erin@example.net' };

export async function startGlewlwyd() {
  const port = await freePort();
  const directory = mkdtempSync(path.join(tmpdir(), 'cloakroom-glewlwyd-'));
  const database = path.join(directory, 'glewlwyd.db');
  // Python is there for other tests; a program for SQLite need not be.
  execFileSync('python3', ['-c', 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(open(sys.argv[2]).read())', database, TABLES]);
  // Its server follows no symbolic links, of which the package is full.
  const pages = path.join(directory, 'pages');
  cpSync(PAGES, pages, { recursive: true, dereference: true });
  // Debian's link to it leads to a directory with the file in it.
  const settings = path.join(pages, 'config.json');
  const text = readFileSync(statSync(settings).isDirectory() ? path.join(settings, 'config.json') : settings, 'utf8');
  rmSync(settings, { recursive: true });
  writeFileSync(settings, text);
  const base = `http://127.0.0.1:${port}`;
  const file = path.join(directory, 'glewlwyd.conf');
  writeFileSync(file, `
    port=${port}
    bind_address="127.0.0.1"
    external_url="${base}"
    login_url="login.html"
    api_prefix="api"
    static_files_path="${pages}/"
    log_mode="console"
    log_level="ERROR"
    cookie_secure=0
    session_key="GLEWLWYD2_SESSION_ID"
    admin_scope="g_admin"
    profile_scope="g_profile"
    user_module_path="/usr/lib/glewlwyd/user"
    client_module_path="/usr/lib/glewlwyd/client"
    user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
    plugin_module_path="/usr/lib/glewlwyd/plugin"
    hash_algorithm="SHA512"
    database = { type = "sqlite3"; path = "${database}"; };
    static_files_mime_types = (
      { extension = ".html"; mime_type = "text/html" },
      { extension = ".css"; mime_type = "text/css" },
      { extension = ".js"; mime_type = "application/javascript" },
      { extension = ".json"; mime_type = "application/json" },
      { extension = ".ico"; mime_type = "image/x-icon" }
    )
  `);
  const child = spawn(PROGRAM, ['--config-file', file], { stdio: ['ignore', 'pipe', 'pipe'] });
  process.once('exit', () => child.kill('SIGKILL'));
  const ended = new Promise((resolve) => child.once('close', resolve));
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { log += chunk; });

  let cookie = '';
  /** Calls the administration API. */
  async function api(method, where, body) {
    const response = await fetch(`${base}/api/${where}`, {
      method, headers: { 'content-type': 'application/json', cookie }, body: body && JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${where}: ${response.status} ${await response.text()}\n${log}`);
    const [set] = response.headers.getSetCookie();
    if (set) [cookie] = set.split(';');
    return response;
  }

  const deadline = Date.now() + 30_000;
  for (;;) {
    try {
      await fetch(`${base}/config`);
      break;
    } catch (error) {
      if (child.exitCode !== null || Date.now() > deadline) throw new Error(`glewlwyd does not start: ${error}\n${log}`);
      await pause(100);
    }
  }
  await api('POST', 'auth/', { username: 'admin', password: 'password' });

  return {
    base,
    issuer: `${base}/api/oidc`,
    /** Makes the plugin, our client and its user. */
    async serve(url) {
      const { privateKey, publicKey } = generateKeyPairSync('rsa', {
        modulusLength: 2048,
        privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
        publicKeyEncoding: { type: 'spki', format: 'pem' },
      });
      await api('POST', 'mod/plugin/', {
        module: 'oidc',
        name: 'oidc',
        display_name: 'OpenID Connect',
        parameters: {
          iss: `${base}/api/oidc`,
          'subject-type': 'public',
          'jwt-type': 'rsa',
          'jwt-key-size': '256',
          key: privateKey,
          cert: publicKey,
          'access-token-duration': 600,
          'refresh-token-duration': 3600,
          'code-duration': 60,
          'refresh-token-rolling': true,
          'allow-non-oidc': false,
          'auth-type-code-enabled': true,
          'auth-type-code-revoke-replayed': true,
          'auth-type-token-enabled': false,
          'auth-type-implicit-enabled': false,
          'auth-type-password-enabled': false,
          'auth-type-client-enabled': false,
          'auth-type-device-enabled': false,
          'auth-type-refresh-enabled': true,
          'jwks-show': true,
          'jwks-x5c': [],
          'pkce-allowed': true,
          'pkce-method-plain-allowed': false,
          'pkce-required': true,
          // It would send `iss` without announcing that (RFC 9207 §2.4: not to be trusted).
          'oauth-as-iss-id': false,
          'name-claim': 'mandatory',
          'email-claim': 'mandatory',
          'session-management-allowed': true,
          'session-cookie-name': 'GLEWLWYD2_OIDC_SID',
          'session-cookie-expiration': 3600,
        },
      });
      await api('POST', 'client/', {
        client_id: 'cloakroom-at-glewlwyd',
        name: 'Cloakroom',
        enabled: true,
        confidential: true,
        client_secret: SECRET,
        password: SECRET,
        token_endpoint_auth_method: ['client_secret_basic'],
        redirect_uri: [`${url}/auth/callback`],
        authorization_type: ['code', 'refresh_token'],
        scope: [],
      });
      const { username, password, name, email } = USER;
      await api('POST', 'user/', { username, password, name, email, enabled: true, scope: ['openid', 'g_profile'] });
    },
    async stop() {
      child.kill('SIGTERM');
      await Promise.race([ended, pause(5000)]);
      child.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** The lines of `cloakroom.toml` that name it. */
export function glewlwydProvider(issuer) {
  return `[[identity_providers]]
id = "glewlwyd"
name = "Glewlwyd"
issuer = "${issuer}"
client_id = "cloakroom-at-glewlwyd"
client_secret = "env:GLEWLWYD_SECRET"
scopes = ["openid"]

[identity_providers.claims]
default_roles = ["admin"]
`;
}

/** It cannot choose one itself. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address();
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}
