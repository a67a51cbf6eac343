// Chromium, the example page and the demo provider: what a person does with them.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import {
  ask, fillDemoForm, isAccessible, person, sees, sessionCookie, shoot, signIn, startChromium,
} from './lib/chromium.mjs';
import { startSystem } from './lib/system.mjs';

const TICKET = /cr_(at|rt|st|ac|wt)_/;
const JWT = /eyJ[A-Za-z0-9_-]{8,}\.eyJ/;

describe('the demo in Chromium', () => {
  let system;
  let browser;
  let context;
  let page;

  before(async () => {
    system = await startSystem();
    browser = await startChromium();
  });
  after(async () => {
    await browser?.close();
    await system?.stop();
  });
  beforeEach(async () => {
    context = await person(browser);
    page = await context.newPage();
  });
  afterEach(async () => {
    const { faults } = context;
    await context.close();
    assert.deepEqual(faults, [], 'no script failed');
  });

  test('a person signs in, calls the services, and signs out', async () => {
    await page.goto(system.url);
    await sees(page.locator('#who'), 'Nobody is signed in.');
    await isAccessible(page);
    await shoot(page, '01-signed-out');

    await page.getByRole('button', { name: 'Orders' }).click();
    await sees(page.locator('#verdict'), 'Refused (401)');

    await page.getByRole('link', { name: 'Sign in', exact: true }).click();
    await sees(page.locator('h1'), 'Sign in');
    await isAccessible(page);
    await shoot(page, '02-demo-provider');
    await fillDemoForm(page, 'alice');

    await sees(page.locator('#who'), 'You are Alice Example (alice@example.com; roles admin, user).');
    await sees(page.locator('#jwt-claims'), '"sub": "demo|alice"');
    await isAccessible(page);
    await shoot(page, '03-signed-in');

    for (const [name, answer] of [['Orders', 'winter coat'], ['Reports', 'revenue'], ['Profile', 'received_headers']]) {
      await page.getByRole('button', { name }).click();
      await sees(page.locator('#verdict'), `/api/${name.toLowerCase()} answered (200).`);
      await sees(page.locator('#answer'), answer);
      await shoot(page, `04-called-${name.toLowerCase()}`);
    }

    await page.getByRole('button', { name: 'Sign out' }).click();
    await sees(page.locator('#who'), 'Nobody is signed in.');
    assert.equal(await sessionCookie(context), undefined);
    await page.waitForURL(`${system.url}/`);
    await shoot(page, '05-signed-out-again');
  });

  test('signing in leads back to the very place on the page', async () => {
    const place = `${system.url}/?list=2&order=a%2Fb#row-7`;
    await page.goto(place);
    await page.getByRole('link', { name: 'Sign in', exact: true }).click();
    await fillDemoForm(page, 'alice');
    await page.waitForURL(place);
    await sees(page.locator('#who'), 'You are Alice Example');
  });

  test('who may not see the reports is told so', async () => {
    await signIn(page, system, 'bob');
    await page.getByRole('button', { name: 'Reports' }).click();
    await sees(page.locator('#verdict'), 'Refused (403): you are known, but you may not see this.');
    await page.getByRole('button', { name: 'Orders' }).click();
    await sees(page.locator('#verdict'), '/api/orders answered (200).');
    await shoot(page, '06-bob');
  });

  test('what the page shows side by side is what is there', async () => {
    await signIn(page, system);
    await sees(page.locator('#jwt-claims'), 'demo|alice');
    const profile = await ask(page, '/api/profile');
    const claims = JSON.parse(await page.locator('#jwt-claims').textContent());
    const header = JSON.parse(await page.locator('#jwt-header').textContent());
    assert.deepEqual(claims, profile.body.claims, 'the same JWT is reused');
    assert.equal(header.typ, 'at+jwt');
    assert.equal(claims.aud, 'profile');
    const names = await page.locator('#names li').allTextContents();
    assert.ok(names.includes('authorization'), names.join());
    assert.ok(!names.includes('cookie'), names.join());

    // The ticket is a drawing, and the page says so: script has no way to the real one.
    const drawn = await page.locator('#ticket .ticket code').textContent();
    assert.match(drawn, /^cr_st_•{70}$/);
    await sees(page.locator('#ticket'), 'A drawing, not the real one');
    await sees(page.locator('#readable'), 'no cookie at all');
    assert.equal((await sessionCookie(context)).value.length, drawn.length);
  });

  test('the cookie is one, small, and out of reach; no token is anywhere else', async () => {
    await signIn(page, system);
    await page.getByRole('button', { name: 'Orders' }).click();
    await sees(page.locator('#verdict'), 'answered (200)');

    const cookies = (await context.cookies(system.url)).filter(({ domain }) => domain === 'localhost');
    assert.equal(cookies.length, 1, cookies.map(({ name }) => name).join());
    const [cookie] = cookies;
    const { name, value, path, secure, httpOnly, sameSite } = cookie;
    assert.deepEqual(
      { name, path, secure, httpOnly, sameSite },
      { name: '__Host-Http-cloakroom', path: '/', secure: true, httpOnly: true, sameSite: 'Strict' },
    );
    assert.match(value, /^cr_st_[A-Za-z0-9_-]{64}[0-9A-Za-z]{6}$/);
    assert.ok(name.length + 1 + value.length < 100);

    const within = await page.evaluate(async () => ({
      cookie: document.cookie,
      local: { ...localStorage },
      session: { ...sessionStorage },
      databases: await indexedDB.databases(),
      caches: await caches.keys(),
      html: document.documentElement.outerHTML,
    }));
    const { html, ...stores } = within;
    assert.deepEqual(stores, { cookie: '', local: {}, session: {}, databases: [], caches: [] });
    assert.ok(!html.includes(value) && !JWT.test(html));

    assert.ok(context.urls.length > 5);
    for (const url of context.urls) assert.ok(!TICKET.test(url) && !JWT.test(url), 'no token is in a URL');
    assert.ok(!system.log.includes(value) && !TICKET.test(system.log) && !JWT.test(system.log), 'nor in the log');
  });

  test('two tabs share the session, and the second hears of the first one signing out', async () => {
    const second = await context.newPage();
    await second.goto(system.url);
    await sees(second.locator('#who'), 'Nobody is signed in.');

    await signIn(page, system);
    await sees(second.locator('#who'), 'You are Alice Example');
    await second.getByRole('button', { name: 'Orders' }).click();
    await sees(second.locator('#verdict'), 'answered (200)');

    await page.getByRole('button', { name: 'Sign out' }).click();
    await sees(second.locator('#who'), 'You have signed out in another tab.');
    assert.equal(await second.locator('#identity').isVisible(), false, 'what was hers is gone from the page');
    await shoot(second, '07-signed-out-elsewhere');
    assert.equal((await ask(second, '/api/orders')).status, 401);
  });

  test('another person in another tab does not inherit the page of the first', async () => {
    const second = await context.newPage();
    await signIn(second, system);
    await page.goto(`${system.url}/auth/login?return_to=/&prompt=login`);
    await fillDemoForm(page, 'bob');
    await sees(page.locator('#who'), 'You are Bob Example');
    await sees(second.locator('#who'), 'You are Bob Example');
    await sees(second.locator('#jwt-claims'), 'demo|bob');
  });

  test('five sign-ins under way in one browser all finish', async () => {
    const tabs = await Promise.all(Array.from({ length: 5 }, () => context.newPage()));
    await Promise.all(tabs.map(async (tab, number) => {
      await tab.goto(`${system.url}/auth/login?return_to=/%3Ftab=${number}`);
      await sees(tab.locator('h1'), 'Sign in');
    }));
    assert.equal(pending(await context.cookies()).length, 5);
    await Promise.all(tabs.map(async (tab, number) => {
      await fillDemoForm(tab, 'alice');
      await tab.waitForURL(`${system.url}/?tab=${number}`);
      await sees(tab.locator('#who'), 'You are Alice Example');
    }));
    assert.deepEqual(pending(await context.cookies()), [], 'each has cleared its own cookie');
  });

  test('more sign-ins than five push out the surplus, and never grow the cookies', async () => {
    for (let number = 0; number < 8; number += 1) {
      await page.goto(`${system.url}/auth/login?return_to=/`);
      assert.ok(pending(await context.cookies()).length <= 5);
    }
    await fillDemoForm(page, 'alice');
    await sees(page.locator('#who'), 'You are Alice Example');
  });

  test('reload and back button on the callback meet a friendly page with a way on', async () => {
    await signIn(page, system);
    const callback = context.urls.find((url) => url.includes('/auth/callback?'));
    const answer = await page.goto(callback);
    assert.equal(answer.status(), 400);
    await isAccessible(page);
    await shoot(page, '08-callback-again');
    assert.equal(await page.evaluate(() => document.scripts.length), 0);
    assert.equal((await page.reload()).status(), 400);

    await page.getByRole('link', { name: 'start page' }).click();
    await sees(page.locator('#who'), 'You are Alice Example');
    await page.goBack();
    assert.ok(page.url().includes('/auth/callback'));
    await page.getByRole('link', { name: 'Sign in again' }).click();
    await fillDemoForm(page, 'alice');
    await sees(page.locator('#who'), 'You are Alice Example');
  });

  test('every hop works without script, and the page says what does not', async () => {
    const plain = await person(browser, { javaScriptEnabled: false });
    const tab = await plain.newPage();
    await tab.goto(system.url);
    await sees(tab.locator('noscript, .notice'), 'Signing in works without JavaScript');
    await shoot(tab, '09-without-script');
    await tab.getByRole('link', { name: 'Sign in', exact: true }).click();
    await fillDemoForm(tab, 'bob');
    await tab.waitForURL(`${system.url}/`);
    assert.ok(await sessionCookie(plain));
    await plain.close();
  });

  test('a wrong password is the provider\'s affair, and the sign-in goes on', async () => {
    await page.goto(`${system.url}/auth/login?return_to=/`);
    await page.getByLabel('User name').fill('alice');
    await page.getByLabel('Password').fill('wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await sees(page.getByRole('alert'), 'is not right');
    await fillDemoForm(page, 'alice');
    await sees(page.locator('#who'), 'You are Alice Example');
  });

  test('D4: a new handle at every sign-in; the old one is dead', async () => {
    await signIn(page, system);
    const { value: first } = await sessionCookie(context);
    await page.goto(`${system.url}/auth/login?return_to=/&prompt=login`);
    await fillDemoForm(page, 'alice');
    await sees(page.locator('#who'), 'You are Alice Example');
    const { value: second } = await sessionCookie(context);
    assert.notEqual(first, second);
    for (const [value, status] of [[first, 401], [second, 200]]) {
      const answer = await fetch(`${system.url}/auth/session`, {
        headers: { cookie: `__Host-Http-cloakroom=${value}`, 'x-csrf': '1' },
      });
      assert.equal(answer.status, status);
    }
  });

  test('on a phone, in the dark, and by keyboard alone', async () => {
    const phone = await person(browser, {
      viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: 'dark',
    });
    const tab = await phone.newPage();
    await tab.goto(system.url);
    await sees(tab.locator('#who'), 'Nobody is signed in.');
    await focusBy(tab, 'sign-in');
    await tab.keyboard.press('Enter');
    await sees(tab.locator('h1'), 'Sign in');
    await shoot(tab, '10-phone-demo-provider');
    await tab.keyboard.type('alice');
    await tab.keyboard.press('Tab');
    await tab.keyboard.type('alice');
    await tab.keyboard.press('Enter');
    await sees(tab.locator('#jwt-claims'), 'demo|alice');
    await isAccessible(tab);
    const wide = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `the page is ${wide} px too wide`);
    await shoot(tab, '11-phone-signed-in');
    await focusBy(tab, 'sign-out');
    await tab.keyboard.press('Enter');
    await sees(tab.locator('#who'), 'Nobody is signed in.');
    await phone.close();
  });
});

function pending(cookies) {
  return cookies.filter(({ name }) => name.startsWith('__Host-Http-login-'));
}

/** Presses Tab until an element has the focus, as a person without a mouse would. */
async function focusBy(page, id) {
  for (let presses = 0; presses < 30; presses += 1) {
    await page.keyboard.press('Tab');
    if (await page.evaluate(() => document.activeElement?.id) === id) return;
  }
  assert.fail(`the keyboard does not reach #${id}`);
}
