// The main path in Chromium through every kind of API and edge: cookies travel differently
// in each.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ask, person, sees, sessionCookie, signIn, startChromium } from './lib/chromium.mjs';
import { startSystem } from './lib/system.mjs';

describe('every topology in Chromium', () => {
  let browser;

  before(async () => {
    browser = await startChromium();
  });
  after(() => browser?.close());

  for (const args of [['--api', 'http'], ['--edge', 'cloudfront'], ['--api', 'http', '--edge', 'cloudfront']]) {
    test(`sign in, call, sign out with ${args.join(' ')}`, async () => {
      const system = await startSystem({ args });
      const context = await person(browser);
      try {
        const page = await context.newPage();
        await signIn(page, system);
        for (const name of ['Orders', 'Reports', 'Profile']) {
          await page.getByRole('button', { name }).click();
          await sees(page.locator('#verdict'), `/api/${name.toLowerCase()} answered (200).`);
        }
        // Without the header the cookie is worth nothing, and that is not remembered.
        const bare = await ask(page, '/api/orders', { headers: {} });
        assert.ok([401, 403].includes(bare.status), `${bare.status}`);
        assert.equal((await ask(page, '/api/orders')).status, 200);
        await page.getByRole('button', { name: 'Sign out' }).click();
        await sees(page.locator('#who'), 'Nobody is signed in.');
        assert.equal(await sessionCookie(context), undefined);
      } finally {
        await context.close();
        await system.stop();
      }
    });
  }
});
