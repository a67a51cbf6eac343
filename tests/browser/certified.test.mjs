// Chromium and `oidc-provider`, which is certified and which nobody here wrote: pushed
// requests (RFC 9126), our key instead of a secret (RFC 7523), the issuer on the callback
// (RFC 9207), claims from UserInfo, keys that change, logout from its side.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import {
  ask, catchCallback, isAccessible, person, sees, sessionCookie, shoot, startChromium,
} from './lib/chromium.mjs';
import { demoConfig, startSystem } from './lib/system.mjs';
import { certifiedProvider, startCertifiedProvider, STRONG } from './providers/certified.mjs';

describe('a certified provider in Chromium', () => {
  let provider;
  let system;
  let browser;
  let context;
  let page;

  before(async () => {
    provider = await startCertifiedProvider();
    system = await startSystem({ config: demoConfig({ providers: certifiedProvider(provider.issuer) }) });
    browser = await startChromium();
    await provider.serve({ url: system.url });
  });
  after(async () => {
    await browser?.close();
    await system?.stop();
    await provider?.stop();
  });
  beforeEach(async () => {
    context = await person(browser);
    page = await context.newPage();
    provider.seen.length = 0;
  });
  afterEach(async () => {
    const { faults } = context;
    await context.close();
    assert.deepEqual(faults, [], 'no script failed');
    assert.deepEqual(provider.seen.filter((line) => /error|failed/.test(line)), []);
  });

  async function signIn(tab = page, user = 'carol') {
    await tab.goto(system.url);
    await tab.getByRole('link', { name: 'Sign in', exact: true }).click();
    await enter(tab, user);
    await sees(tab.locator('#who'), new RegExp(`You are ${user} Certified`, 'i'));
  }

  test('from sign-in to API call', async () => {
    await page.goto(system.url);
    await page.getByRole('link', { name: 'Sign in', exact: true }).click();
    await sees(page.locator('h1'), 'certified provider');
    await shoot(page, '20-certified-provider');
    await enter(page, 'carol');
    await sees(page.locator('#who'), 'You are Carol Certified (carol@example.org; roles admin, user).');
    await sees(page.locator('#jwt-claims'), '"sub": "certified|carol"');
    await page.getByRole('button', { name: 'Reports' }).click();
    await sees(page.locator('#verdict'), '/api/reports answered (200).');
    await shoot(page, '21-certified-signed-in');

    for (const asked of ['POST /request', 'POST /token', 'GET /me']) {
      assert.ok(provider.seen.includes(asked), `${asked}: ${provider.seen.join(', ')}`);
    }
    // What was pushed is not in the address: a client, and a reference.
    const authorize = context.urls.find((url) => url.startsWith(`${provider.issuer}/auth?`));
    assert.deepEqual([...new URL(authorize).searchParams.keys()].sort(), ['client_id', 'request_uri']);
  });

  test('D5: the answer names its issuer, and one that does not is refused before the code is used', async () => {
    await page.goto(`${system.url}/auth/login?return_to=/`);
    const callback = new URL(await catchCallback(page, () => enter(page, 'carol')));
    assert.equal(callback.searchParams.get('iss'), provider.issuer);
    for (const iss of [null, 'https://other.example', `${provider.issuer}/`]) {
      const forged = new URL(callback);
      forged.searchParams.delete('iss');
      if (iss) forged.searchParams.set('iss', iss);
      const asked = provider.seen.length;
      assert.equal((await page.goto(forged.href)).status(), 400);
      assert.ok(!provider.seen.slice(asked).includes('POST /token'));
      assert.equal(await sessionCookie(context), undefined);
    }
  });

  test('D1 D2: a code, or a whole callback, of the attacker\'s is no use in the victim\'s browser', async () => {
    const attacker = await person(browser);
    const theirs = await attacker.newPage();
    await theirs.goto(`${system.url}/auth/login?return_to=/`);
    const stolen = new URL(await catchCallback(theirs, () => enter(theirs, 'dave')));
    await attacker.close();

    const asked = provider.seen.length;
    assert.equal((await page.goto(stolen.href)).status(), 400);
    assert.ok(!provider.seen.slice(asked).includes('POST /token'), 'nothing was asked for it');

    await page.goto(`${system.url}/auth/login?return_to=/`);
    const own = new URL(await catchCallback(page, () => enter(page, 'carol')));
    own.searchParams.set('code', stolen.searchParams.get('code'));
    assert.equal((await page.goto(own.href)).status(), 400);
    assert.equal(await sessionCookie(context), undefined);
  });

  test('who says no there gets a page that helps, without the provider\'s words', async () => {
    await page.goto(`${system.url}/auth/login?return_to=/`);
    await page.getByRole('button', { name: 'Cancel' }).click();
    await sees(page.locator('h1'), 'Not signed in');
    const html = await page.content();
    assert.ok(!html.includes('alert(1)') && !html.includes('said no'));
    await isAccessible(page);
    await shoot(page, '22-denied');
    await page.getByRole('link', { name: 'Sign in again' }).click();
    await enter(page, 'carol');
    await page.waitForURL(`${system.url}/`);
    await sees(page.locator('#who'), 'You are Carol Certified');
  });

  test('five sign-ins under way in one browser all finish', async () => {
    const tabs = await Promise.all(Array.from({ length: 5 }, () => context.newPage()));
    // Started side by side; then the provider knows its user, and the others need no form.
    await Promise.all(tabs.map((tab) => tab.goto(`${system.url}/auth/login?return_to=/`)));
    for (const tab of tabs) {
      await enter(tab, 'carol');
      await tab.waitForURL(`${system.url}/`);
      await sees(tab.locator('#who'), 'You are Carol Certified');
    }
  });

  test('whom the provider still knows signs in without a form', async () => {
    await signIn();
    await page.goto(`${system.url}/auth/login?return_to=/%3Fagain`);
    await page.waitForURL(`${system.url}/?again`);
    await sees(page.locator('#who'), 'You are Carol Certified');
  });

  test('step-up: a fresh sign-in, and a stronger one, are demanded and checked', async () => {
    await signIn();
    const claims = async () => (await ask(page, '/api/profile')).body.claims;
    assert.equal((await claims()).auth_time, undefined, 'a provider that is not asked does not say, and nobody says it for it');

    const asked = Math.floor(Date.now() / 1000);
    await page.goto(`${system.url}/auth/login?return_to=/&max_age=0`);
    await enter(page, 'carol');
    await page.waitForURL(`${system.url}/`);
    await sees(page.locator('#who'), 'You are Carol Certified');
    assert.ok((await claims()).auth_time >= asked - 1);
    assert.notEqual((await claims()).acr, STRONG);

    await page.goto(`${system.url}/auth/login?return_to=/&acr_values=${encodeURIComponent(STRONG)}`);
    await page.getByLabel('Code from your device').waitFor();
    await shoot(page, '23-step-up');
    await enter(page, 'carol', '123456');
    await page.waitForURL(`${system.url}/`);
    await sees(page.locator('#who'), 'You are Carol Certified');
    assert.equal((await claims()).acr, STRONG);
  });

  test('step-up: what the provider cannot give is no session', async () => {
    await page.goto(`${system.url}/auth/login?return_to=/&acr_values=urn:example:three-factors`);
    await enter(page, 'carol');
    await sees(page.locator('h1'), 'Not signed in');
    assert.equal(await sessionCookie(context), undefined);
  });

  test('a provider that changes its key in mid-run is followed', async () => {
    await signIn();
    // A sign-in that is under way while it happens finishes too.
    const other = await person(browser);
    const tab = await other.newPage();
    await tab.goto(`${system.url}/auth/login?return_to=/`);
    await sees(tab.locator('h1'), 'certified provider');
    await provider.rotate();
    assert.equal((await ask(page, '/api/orders')).status, 200, 'a session does not depend on it');
    await enter(tab, 'dave');
    await sees(tab.locator('#who'), 'You are Dave Certified');
    await other.close();
  });

  test('signing out ends the session here and there', async () => {
    await signIn();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await sees(page.locator('h1'), 'Sign out?');
    assert.equal(await sessionCookie(context), undefined, 'here first, whatever is answered there');
    await shoot(page, '24-certified-sign-out');
    await page.getByRole('button', { name: 'Yes, sign me out' }).click();
    await page.waitForURL(`${system.url}/`);
    await sees(page.locator('#who'), 'Nobody is signed in.');
    // It has forgotten her too: it asks who is there.
    await page.getByRole('link', { name: 'Sign in', exact: true }).click();
    await sees(page.locator('h1'), 'certified provider');
  });

  test('back-channel logout: who signs out at the provider is signed out here, in every tab', async () => {
    await signIn();
    const second = await context.newPage();
    await second.goto(system.url);
    await sees(second.locator('#who'), 'You are Carol Certified');
    const bystander = await person(browser);
    const theirs = await bystander.newPage();
    await signIn(theirs, 'dave');

    const away = await context.newPage();
    await away.goto(`${provider.issuer}/session/end`);
    await away.getByRole('button', { name: 'Yes, sign me out' }).click();
    await sees(away.locator('h1'), 'Signed out');
    assert.deepEqual(provider.seen.filter((line) => line.startsWith('backchannel')), ['backchannel.success']);

    // The cookie is still there, and worth nothing.
    assert.ok(await sessionCookie(context));
    assert.equal((await ask(second, '/api/orders')).status, 401);
    await page.getByRole('button', { name: 'Orders' }).click();
    await page.getByRole('dialog', { name: 'Your session has ended' }).waitFor();
    await shoot(page, '25-back-channel-logout', { fullPage: false });
    assert.equal((await ask(theirs, '/api/orders')).status, 200, 'nobody else is signed out');
    await bystander.close();
  });
});

async function enter(page, user, code) {
  await page.getByLabel('User name').fill(user);
  if (code) await page.getByLabel('Code from your device').fill(code);
  await page.getByRole('button', { name: 'Sign in' }).click();
}
