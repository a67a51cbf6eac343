// Chromium from the distribution, and what a scenario does with it.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import axe from 'axe-core';
import { chromium } from 'playwright-core';
import { TARGET } from './system.mjs';

const SHOTS = path.join(TARGET, 'screenshots');
/** A machine that does ten other things is slow, not broken. */
export const PATIENCE = 60_000;

/** Where a browser is: named by a variable, or where distributions put it. */
export function find(variable, candidates) {
  const named = process.env[variable];
  if (named) return named;
  const found = candidates.find((candidate) => existsSync(candidate));
  if (!found) throw new Error(`none of ${candidates.join(', ')} is there: install one, or name another in ${variable}`);
  return found;
}

/** A browser whose profile is new; `hosts` are names that lead to this machine. */
export async function startChromium({ hosts = [] } = {}) {
  const rules = hosts.map((host) => `MAP ${host} 127.0.0.1`).join(', ');
  const browser = await chromium.launch({
    executablePath: find('CHROMIUM', [
      '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome',
      '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    ]),
    headless: true,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
      '--disable-background-networking', '--disable-component-update',
      ...(rules ? [`--host-resolver-rules=${rules}`] : []),
    ],
  });
  const close = browser.close.bind(browser);
  browser.close = () => atMost(close());
  return browser;
}

/**
 * Chromium sometimes never answers a close that meets a navigation. What is left then
 * belongs to nobody, and ends with this process.
 */
async function atMost(closing) {
  const patience = new AbortController();
  const enough = pause(10_000, null, { signal: patience.signal }).catch(() => {});
  await Promise.race([closing, enough]);
  patience.abort();
}

/**
 * Somebody with a browser of their own: nothing of another's cookies. Whatever it asks
 * for is kept in `urls`; a script error on any page fails the scenario that looks.
 */
export async function person(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
  context.setDefaultTimeout(PATIENCE);
  context.setDefaultNavigationTimeout(PATIENCE);
  const close = context.close.bind(context);
  context.close = async () => {
    await Promise.all(context.pages().map((page) => page.waitForLoadState('load', { timeout: 5000 }).catch(() => {})));
    await atMost(close());
  };
  context.urls = [];
  context.faults = [];
  context.on('request', (request) => context.urls.push(request.url()));
  context.on('weberror', (error) => context.faults.push(String(error.error())));
  return context;
}

/** Signs in at the demo provider's form, which `page` shows. */
export async function fillDemoForm(page, user) {
  await page.getByLabel('User name').fill(user);
  await page.getByLabel('Password').fill(user);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/** From the example page to the example page, with a session. */
export async function signIn(page, system, user = 'alice') {
  await page.goto(system.url);
  await page.getByRole('link', { name: 'Sign in', exact: true }).click();
  await fillDemoForm(page, user);
  await sees(page.locator('#who'), new RegExp(`You are ${user}`, 'i'));
}

/** Waits until an element says what it should. */
export async function sees(locator, text, timeout = PATIENCE) {
  const found = locator.filter({ hasText: text });
  try {
    await found.first().waitFor({ state: 'visible', timeout });
  } catch {
    const said = await locator.allTextContents().catch(() => []);
    assert.fail(`waited for ${text}, and saw ${JSON.stringify(said)} at ${locator.page().url()}`);
  }
}

/** Calls as a script of the page itself would. */
export async function ask(page, url, { method = 'GET', headers = { 'x-csrf': '1' } } = {}) {
  return page.evaluate(async ([url, init]) => {
    const response = await fetch(url, init);
    const text = await response.text();
    let body = null;
    try { body = JSON.parse(text); } catch { /* a page */ }
    return { status: response.status, body };
  }, [url, { method, headers }]);
}

/**
 * Does something that leads to the callback, and keeps it from our side: the callback's
 * URL is returned, its code unused. The browser gets an empty page in its stead, and is
 * there when this returns: a tab that still navigates takes no other address. Playwright's
 * own routes do not see what a redirect leads to.
 */
export async function catchCallback(page, action) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Fetch.enable', { patterns: [{ urlPattern: '*/auth/callback?*' }] });
  const caught = new Promise((resolve, reject) => {
    devtools.once('Fetch.requestPaused', ({ requestId, request }) => {
      devtools.send('Fetch.fulfillRequest', { requestId, responseCode: 200 }).then(() => resolve(request.url), reject);
    });
  });
  const [url] = await Promise.all([caught, action()]);
  await page.waitForURL(url);
  await devtools.detach();
  return url;
}

/** The session's cookie, if there is one. */
export async function sessionCookie(context) {
  const cookies = await context.cookies();
  return cookies.find(({ name }) => name === '__Host-Http-cloakroom');
}

/** Keeps what the page looks like, for people to look at; of a dialog, what is in sight. */
export async function shoot(page, name, { fullPage = true } = {}) {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: path.join(SHOTS, `${name}.png`), fullPage, animations: 'disabled' });
}

/** Holds a page to the rules of WCAG 2.2 A and AA that a program can judge. */
export async function isAccessible(page) {
  // In its own world: the page's policy lets no script of ours in.
  await page.evaluate(axe.source);
  const violations = await page.evaluate(async () => {
    const result = await globalThis.axe.run(document, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    });
    return result.violations.map(({ id, help, nodes }) => ({ id, help, at: nodes.map(({ html }) => html.slice(0, 200)) }));
  });
  assert.deepEqual(violations, [], `${page.url()} is accessible`);
}
