// Chromium, and sessions that end while a tab is open. Where it is time that ends them, the
// limits are short by configuration, yet long enough for a busy machine to get there, and
// the scenarios wait for them side by side.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ask, fillDemoForm, isAccessible, person, sees, shoot, signIn, startChromium } from './lib/chromium.mjs';
import { demoConfig, startSystem } from './lib/system.mjs';

const IDLE = 40;
const ABSOLUTE = 28;

let browser;

before(async () => {
  browser = await startChromium();
});
after(() => browser?.close());

/** Alice, signed in, in a browser of her own. */
async function alice(system) {
  const context = await person(browser);
  const page = await context.newPage();
  await signIn(page, system);
  await sees(page.locator('#jwt-claims'), 'demo|alice');
  return { context, page };
}

/** Signs in in the tab that the dialog opens, which then closes by itself. */
async function signInAgain({ context, page }, user) {
  const opened = context.waitForEvent('page');
  await page.getByRole('link', { name: 'Sign in again' }).click();
  const tab = await opened;
  const closed = tab.waitForEvent('close');
  await fillDemoForm(tab, user);
  await closed;
}

describe('sessions that time ends in Chromium', { concurrency: true }, () => {
  let idle;
  let absolute;

  before(async () => {
    idle = await startSystem({ config: demoConfig({ session: `idle = ${IDLE}\nslide_interval = 1` }) });
    absolute = await startSystem({
      config: demoConfig({ session: `idle = ${ABSOLUTE}\nabsolute = ${ABSOLUTE}\nslide_interval = 1` }),
    });
  });
  after(() => Promise.all([idle?.stop(), absolute?.stop()]));

  test('an open tab says so by itself, and loses nothing when its user signs in again', async () => {
    const { context, page } = await alice(absolute);
    await page.getByRole('button', { name: 'Orders' }).click();
    await sees(page.locator('#answer'), 'winter coat');

    const dialog = page.getByRole('dialog', { name: 'Your session has ended' });
    await dialog.waitFor();
    assert.equal((await ask(page, '/auth/session?slide=false')).status, 401);
    await sees(page.locator('#answer'), 'winter coat');
    await isAccessible(page);
    await shoot(page, '40-session-ended', { fullPage: false });

    await signInAgain({ context, page }, 'alice');
    await dialog.waitFor({ state: 'hidden' });
    await sees(page.locator('#who'), 'You are Alice Example');
    await sees(page.locator('#answer'), 'winter coat');
    await context.close();
  });

  test('every open tab hears of the end, and of the new beginning', async () => {
    const { context, page } = await alice(absolute);
    const second = await context.newPage();
    await second.goto(absolute.url);
    await sees(second.locator('#who'), 'You are Alice Example');
    for (const tab of [page, second]) await tab.getByRole('dialog').waitFor();
    await signInAgain({ context, page }, 'alice');
    for (const tab of [page, second]) {
      await tab.getByRole('dialog').waitFor({ state: 'hidden' });
      await sees(tab.locator('#who'), 'You are Alice Example');
    }
    await context.close();
  });

  test('the absolute limit is announced, and nothing moves it', async () => {
    const { context, page } = await alice(absolute);
    await sees(page.getByRole('alert'), /Your session ends in \d+ seconds?\. Then you will have to sign in again\./);
    assert.equal(await page.getByRole('button', { name: 'Stay signed in' }).isVisible(), false);
    assert.equal((await ask(page, '/auth/session')).status, 200);
    await page.getByRole('dialog').waitFor();
    await page.getByRole('button', { name: 'Stay signed out' }).click();
    await sees(page.locator('#who'), 'Your session has ended.');
    assert.equal(await page.locator('#identity').isVisible(), false);
    await context.close();
  });

  test('the idle limit is announced, and one click moves it', async () => {
    const { context, page } = await alice(idle);
    await sees(page.getByRole('alert'), /Your session ends in \d+ seconds?\./);
    await shoot(page, '41-session-expiring');
    await page.getByRole('button', { name: 'Stay signed in' }).click();
    await page.getByRole('alert').waitFor({ state: 'hidden' });
    const { body } = await ask(page, '/auth/session?slide=false');
    assert.ok(body.idle_expires_in > IDLE / 2, `${body.idle_expires_in} seconds left`);
    await context.close();
  });

  test('who works stays signed in', async () => {
    const { context, page } = await alice(idle);
    const end = Date.now() + (IDLE + 5) * 1000;
    while (Date.now() < end) {
      await page.keyboard.press('Shift');
      await page.waitForTimeout(1000);
    }
    assert.equal((await ask(page, '/auth/session?slide=false')).status, 200);
    assert.equal(await page.getByRole('dialog').isVisible(), false);
    await context.close();
  });

  test('looking without sliding keeps nothing alive', async () => {
    const { context, page } = await alice(idle);
    const end = Date.now() + 2 * IDLE * 1000;
    let status;
    do {
      await page.waitForTimeout(1000);
      ({ status } = await ask(page, '/auth/session?slide=false'));
    } while (status === 200 && Date.now() < end);
    assert.equal(status, 401);
    await context.close();
  });
});

describe('sessions that end otherwise in Chromium', () => {
  let system;

  before(async () => {
    system = await startSystem();
  });
  after(() => system?.stop());

  test('a request that meets the end waits for its user, and is then repeated', async () => {
    const { context, page } = await alice(system);
    await context.clearCookies();
    await page.getByRole('button', { name: 'Reports' }).click();
    await page.getByRole('dialog', { name: 'Your session has ended' }).waitFor();
    await sees(page.locator('#verdict'), 'Asking /api/reports');
    await signInAgain({ context, page }, 'alice');
    await sees(page.locator('#verdict'), '/api/reports answered (200).');
    await context.close();
  });

  test('a sign-in of which no tab tells is noticed when the user comes back', async () => {
    const { context, page } = await alice(system);
    await context.clearCookies();
    await page.getByRole('button', { name: 'Reports' }).click();
    const dialog = page.getByRole('dialog', { name: 'Your session has ended' });
    await dialog.waitFor();
    const silent = await context.newPage();
    await silent.goto(`${system.url}/auth/login?return_to=/style.css`);
    await fillDemoForm(silent, 'alice');
    await silent.waitForURL(`${system.url}/style.css`);
    assert.ok(await dialog.isVisible());
    // Headless tabs are all in sight at any time.
    await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await dialog.waitFor({ state: 'hidden' });
    await sees(page.locator('#verdict'), '/api/reports answered (200).');
    await context.close();
  });

  test('a request of one person is never repeated as another', async () => {
    const { context, page } = await alice(system);
    await context.clearCookies();
    const asked = [];
    page.on('request', (request) => asked.push(new URL(request.url()).pathname));
    await page.getByRole('button', { name: 'Reports' }).click();
    await page.getByRole('dialog').waitFor();
    await signInAgain({ context, page }, 'bob');
    await sees(page.locator('#who'), 'You are Bob Example');
    await sees(page.locator('#verdict'), 'Refused (401)');
    assert.equal(asked.filter((path) => path === '/api/reports').length, 1);
    await context.close();
  });

  test('who does not want to sign in again gets an answer too', async () => {
    const { context, page } = await alice(system);
    await context.clearCookies();
    await page.getByRole('button', { name: 'Orders' }).click();
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Escape');
    await sees(page.locator('#verdict'), 'Refused (401)');
    await sees(page.locator('#who'), 'Your session has ended.');
    await context.close();
  });

  test('a lost network is not a lost session', async () => {
    const { context, page } = await alice(system);
    await context.setOffline(true);
    await page.getByRole('button', { name: 'Orders' }).click();
    await sees(page.locator('#verdict'), 'No answer');
    await sees(page.locator('#who'), 'You are Alice Example');
    await shoot(page, '42-no-network');
    await context.setOffline(false);
    await page.getByRole('button', { name: 'Orders' }).click();
    await sees(page.locator('#verdict'), '/api/orders answered (200).');
    await context.close();
  });
});
