// Firefox goes the main path too: another engine, with other rules for cookies.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { startFirefox } from './lib/firefox.mjs';
import { startSystem } from './lib/system.mjs';

describe('the demo in Firefox', () => {
  let system;
  let browser;
  let person;
  let page;

  before(async () => {
    system = await startSystem();
    browser = await startFirefox();
  });
  after(async () => {
    await browser?.stop();
    await system?.stop();
  });
  beforeEach(async () => {
    person = await browser.person();
    page = await person.newPage();
  });
  afterEach(() => person.close());

  async function signIn(tab = page, user = 'alice') {
    await tab.goto(system.url);
    await tab.sees('#who', 'Nobody is signed in.');
    await tab.click('#sign-in');
    await enter(tab, user);
    await tab.sees('#who', user === 'alice' ? 'You are Alice Example' : 'You are Bob Example');
    await tab.sees('#jwt-claims', `demo|${user}`);
  }

  async function enter(tab, user) {
    await tab.sees('h1', 'Sign in');
    await tab.type('#username', user);
    await tab.type('#password', user);
    await tab.click('form button');
  }

  test('a person signs in, calls the services, and signs out', async () => {
    await signIn();
    await page.shoot('50-firefox-signed-in');
    for (const [path, answer] of [['/api/orders', 'winter coat'], ['/api/reports', 'revenue'], ['/api/profile', 'received_headers']]) {
      await page.click(`[data-call="${path}"]`);
      await page.sees('#verdict', `${path} answered (200).`);
      await page.sees('#answer', answer);
    }
    await page.click('#sign-out');
    await page.sees('#who', 'Nobody is signed in.');
    assert.deepEqual(await person.cookies(), []);
    await page.sees('#no-identity', 'Nothing yet');
  });

  test('the cookie is one, small, and out of reach', async () => {
    await signIn();
    const cookies = await person.cookies();
    assert.equal(cookies.length, 1);
    const [{ name, value, path, secure, httpOnly, sameSite, domain }] = cookies;
    assert.deepEqual(
      { name, path, secure, httpOnly, sameSite, domain },
      { name: '__Host-Http-cloakroom', path: '/', secure: true, httpOnly: true, sameSite: 'strict', domain: 'localhost' },
    );
    assert.match(value.value, /^cr_st_[A-Za-z0-9_-]{64}[0-9A-Za-z]{6}$/);
    const seen = await page.evaluate(() => ({
      cookie: document.cookie, local: { ...localStorage }, session: { ...sessionStorage },
    }));
    assert.deepEqual(seen, { cookie: '', local: {}, session: {} });
  });

  test('who may not see the reports is told so', async () => {
    await signIn(page, 'bob');
    await page.click('[data-call="/api/reports"]');
    await page.sees('#verdict', 'Refused (403)');
  });

  test('two tabs share the session, and the second hears of the first one signing out', async () => {
    const second = await person.newPage();
    await second.goto(system.url);
    await second.sees('#who', 'Nobody is signed in.');
    await signIn();
    await second.sees('#who', 'You are Alice Example');
    await page.click('#sign-out');
    await second.sees('#who', 'You have signed out in another tab.');
  });

  test('five sign-ins under way in one browser all finish', async () => {
    const tabs = [];
    for (let number = 0; number < 5; number += 1) {
      const tab = await person.newPage();
      await tab.goto(`${system.url}/auth/login?return_to=/%3Ftab=${number}`);
      tabs.push(tab);
    }
    for (const tab of tabs) {
      await enter(tab, 'alice');
      await tab.sees('#who', 'You are Alice Example');
    }
  });

  test('the callback again is a friendly page', async () => {
    await page.goto(`${system.url}/auth/callback?state=${'A'.repeat(43)}&code=x`);
    await page.sees('h1', 'No sign-in is under way');
    await page.shoot('51-firefox-callback-again');
    await page.click('a[href="/"]');
    await page.sees('#who', 'Nobody is signed in.');
  });
});
