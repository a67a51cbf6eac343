// Chromium and Glewlwyd, which Debian has: a second provider that nobody here wrote.

import { after, before, describe, test } from 'node:test';
import { person, sees, shoot, startChromium } from './lib/chromium.mjs';
import { demoConfig, startSystem } from './lib/system.mjs';
import { glewlwydProvider, missing, SECRET, startGlewlwyd, USER } from './providers/glewlwyd.mjs';

describe('Glewlwyd in Chromium', { skip: missing }, () => {
  let provider;
  let system;
  let browser;

  before(async () => {
    provider = await startGlewlwyd();
    system = await startSystem({
      config: demoConfig({ providers: glewlwydProvider(provider.issuer) }),
      env: { GLEWLWYD_SECRET: SECRET },
    });
    browser = await startChromium();
    await provider.serve(system.url);
  });
  after(async () => {
    await browser?.close();
    await system?.stop();
    await provider?.stop();
  });

  test('from sign-in to API call', async () => {
    const context = await person(browser);
    const page = await context.newPage();
    await page.goto(system.url);
    await page.getByRole('link', { name: 'Sign in', exact: true }).click();
    await page.getByPlaceholder('Your username').fill(USER.username);
    await page.getByPlaceholder('Your password').fill(USER.password);
    await shoot(page, '60-glewlwyd');
    await page.getByRole('button', { name: 'OK' }).click();
    // It asks its user whether we may know who she is.
    await page.getByRole('button', { name: 'Continue' }).click();
    await sees(page.locator('#who'), `You are ${USER.name} (${USER.email}; roles admin).`);
    await sees(page.locator('#jwt-claims'), '"sub": "glewlwyd|');
    await page.getByRole('button', { name: 'Reports' }).click();
    await sees(page.locator('#verdict'), '/api/reports answered (200).');
    await shoot(page, '61-glewlwyd-signed-in');
    await context.close();
  });
});
