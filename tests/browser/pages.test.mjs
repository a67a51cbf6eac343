// The pages that people see of Cloakroom itself, in Chromium: the choice between
// providers, the question about an app, and what is said when something fails. Each is held
// to the rules of accessibility, in the light and in the dark, and loads nothing.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { fillDemoForm, isAccessible, person, sees, shoot, startChromium } from './lib/chromium.mjs';
import { demoConfig, startSystem } from './lib/system.mjs';

const PROVIDERS = `[[identity_providers]]
id = "demo"
name = "Demo provider"
issuer = "http://127.0.0.1:4000"
client_id = "cloakroom"
client_secret = "env:CLOAKROOM_DEMO_IDP_SECRET"
scopes = ["openid", "profile", "email", "roles"]
callback = "own"
email_domains = ["example.com"]

[[identity_providers]]
id = "partner"
name = "Partner <&> Sons"
issuer = "http://127.0.0.1:9"
client_id = "cloakroom"
client_authentication = "none"
callback = "own"
email_domains = ["partner.example"]
`;

describe('pages of ours in Chromium', () => {
  let system;
  let browser;

  before(async () => {
    system = await startSystem({ config: demoConfig({ providers: PROVIDERS }) });
    browser = await startChromium();
  });
  after(async () => {
    await browser?.close();
    await system?.stop();
  });

  /** Looks at a page in both colours; it must need nothing else, and let nothing in. */
  async function judge(page, answer, name) {
    const policy = answer.headers()['content-security-policy'];
    assert.match(policy, /^default-src 'none'; style-src 'sha256-/);
    assert.match(policy, /frame-ancestors 'none'/);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await isAccessible(page);
      await shoot(page, `${name}-${colorScheme}`);
    }
    const loaded = await page.evaluate(() => performance.getEntriesByType('resource').map((entry) => entry.name));
    assert.deepEqual(loaded.filter((url) => !url.endsWith('/favicon.ico')), []);
    const styled = await page.evaluate(() => getComputedStyle(document.querySelector('main')).borderRadius);
    assert.notEqual(styled, '0px', 'the style sheet is the one that the policy names');
  }

  test('the choice between providers, by name', async () => {
    const context = await person(browser);
    const page = await context.newPage();
    const answer = await page.goto(`${system.url}/auth/login?return_to=/%3Fchosen`);
    await judge(page, answer, '70-chooser');
    await sees(page.getByRole('listitem'), 'Partner <&> Sons');
    await page.getByRole('link', { name: 'Demo provider' }).click();
    await fillDemoForm(page, 'alice');
    await page.waitForURL(`${system.url}/?chosen`);
    await sees(page.locator('#who'), 'You are Alice Example');
    await context.close();
  });

  test('the choice between providers, by e-mail address', async () => {
    const context = await person(browser);
    const page = await context.newPage();
    await page.goto(`${system.url}/auth/login?return_to=/`);
    await page.getByLabel('e-mail').fill('someone@nowhere.example');
    await page.getByRole('button').click();
    await sees(page.getByRole('alert'), 'Nobody here');
    await isAccessible(page);
    await page.getByLabel('e-mail').fill('alice@EXAMPLE.com');
    await page.getByRole('button').click();
    await fillDemoForm(page, 'alice');
    await sees(page.locator('#who'), 'You are Alice Example');
    await context.close();
  });

  test('a provider that cannot be reached gives a page that helps', async () => {
    const context = await person(browser);
    const page = await context.newPage();
    const answer = await page.goto(`${system.url}/auth/login?idp=partner&return_to=/`);
    assert.equal(answer.status(), 503);
    await judge(page, answer, '71-provider-down');
    await page.getByRole('link', { name: 'Sign in again' }).click();
    await page.getByRole('link', { name: 'Demo provider' }).waitFor();
    await context.close();
  });

  test('an app is let in only by its user, who is told what it may do', async () => {
    // The app listens on a port of its own; what it is told is in the address.
    const app = createServer((request, response) => response.end('<!doctype html><title>app</title>done'));
    await new Promise((resolve) => { app.listen(0, '127.0.0.1', resolve); });
    const redirect = `http://127.0.0.1:${app.address().port}/callback`;
    const context = await person(browser);
    const page = await context.newPage();
    const asked = new URLSearchParams({
      response_type: 'code', client_id: 'demo-native', redirect_uri: redirect, scope: 'openid orders:read', state: 's',
      code_challenge: createHash('sha256').update('v'.repeat(43)).digest('base64url'), code_challenge_method: 'S256', idp: 'demo',
    });
    for (const [decision, expected] of [['No', 'error'], ['Yes, let it in', 'code']]) {
      await page.goto(`${system.url}/oauth/authorize?${asked}&prompt=login`);
      const confirmation = page.waitForResponse((response) => response.url().includes('/auth/callback'));
      await fillDemoForm(page, 'bob');
      await sees(page.locator('h1'), 'Let Demo app in?');
      if (expected === 'error') await judge(page, await confirmation, '72-confirmation');
      await page.getByRole('button', { name: decision }).click();
      await page.waitForURL(`${redirect}?**`);
      assert.ok(new URL(page.url()).searchParams.has(expected), page.url());
    }
    await context.close();
    app.closeAllConnections();
    app.close();
  });
});
