// Firefox from the distribution, over WebDriver BiDi (W3C). Playwright drives a patched
// Firefox only, and the drivers that take the real one bring eighty packages: the few
// commands that a scenario needs are here.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import WebSocket from 'ws';
import { find, PATIENCE } from './chromium.mjs';
import { TARGET } from './system.mjs';

export async function startFirefox() {
  const profile = mkdtempSync(path.join(tmpdir(), 'cloakroom-firefox-'));
  const child = spawn(
    find('FIREFOX', [
      '/usr/bin/firefox-esr', '/usr/bin/firefox', '/Applications/Firefox.app/Contents/MacOS/firefox',
    ]),
    ['--headless', '--no-remote', '--remote-debugging-port=0', '--profile', profile],
    // Firefox does not start in a home that is somebody else's.
    { env: { ...process.env, HOME: profile, MOZ_HEADLESS: '1' }, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  process.once('exit', () => child.kill('SIGKILL'));
  const ended = new Promise((resolve) => child.once('close', resolve));
  const address = await new Promise((resolve, reject) => {
    let log = '';
    const timer = setTimeout(() => reject(new Error(`Firefox does not listen:\n${log}`)), 60_000);
    child.stderr.on('data', (chunk) => {
      log += chunk;
      const [, url] = /WebDriver BiDi listening on (ws:\S+)/.exec(log) ?? [];
      if (!url) return;
      clearTimeout(timer);
      resolve(url);
    });
    ended.then((code) => reject(new Error(`Firefox ended with ${code}:\n${log}`)));
  });

  const socket = new WebSocket(`${address}/session`);
  await new Promise((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  const waiting = new Map();
  let count = 0;
  socket.on('message', (data) => {
    const { id, type, result, error, message } = JSON.parse(data);
    const { resolve, reject } = waiting.get(id) ?? {};
    waiting.delete(id);
    if (type === 'error') reject?.(new Error(`${error}: ${message}`));
    else resolve?.(result);
  });
  const send = (method, params = {}) => new Promise((resolve, reject) => {
    count += 1;
    const id = count;
    // A command that meets a navigation may never be answered.
    const timer = setTimeout(() => {
      waiting.delete(id);
      reject(new Error(`no answer to ${method}`));
    }, PATIENCE);
    const once = (settle) => (value) => {
      clearTimeout(timer);
      settle(value);
    };
    waiting.set(id, { resolve: once(resolve), reject: once(reject) });
    socket.send(JSON.stringify({ id, method, params }));
  });
  const { capabilities } = await send('session.new', { capabilities: {} });

  return {
    version: capabilities.browserVersion,
    /** Somebody with cookies of their own. */
    async person() {
      const { userContext } = await send('browser.createUserContext');
      return {
        async newPage() {
          const { context } = await send('browsingContext.create', { type: 'tab', userContext });
          return new FirefoxPage(send, context);
        },
        async cookies() {
          const { cookies } = await send('storage.getCookies', {
            partition: { type: 'storageKey', userContext },
          });
          return cookies;
        },
        close: () => send('browser.removeUserContext', { userContext }),
      };
    },
    async stop() {
      await send('browser.close').catch(() => {});
      socket.terminate();
      await ended;
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

class FirefoxPage {
  #send;
  #context;

  constructor(send, context) {
    this.#send = send;
    this.#context = context;
  }

  async goto(url) {
    await this.#send('browsingContext.navigate', { context: this.#context, url, wait: 'complete' });
  }

  /** Calls a function in the page; arguments and result are JSON. */
  async evaluate(script, ...values) {
    const expression = `(async () => JSON.stringify(await (${script})(...${JSON.stringify(values)})))()`;
    const answer = await this.#send('script.evaluate', {
      expression, target: { context: this.#context }, awaitPromise: true, userActivation: true,
    });
    if (answer.type === 'exception') throw new Error(answer.exceptionDetails.text);
    return answer.result.type === 'undefined' ? undefined : JSON.parse(answer.result.value);
  }

  /** Waits until a selector's text contains something; pages may change meanwhile. */
  async sees(selector, text) {
    const end = Date.now() + PATIENCE;
    let said;
    do {
      said = await this.evaluate((wanted) => {
        const element = document.querySelector(wanted);
        return element?.checkVisibility() ? element.textContent : null;
      }, selector).catch(() => null);
      if (said?.includes(text)) return;
      await pause(50);
    } while (Date.now() < end);
    assert.fail(`waited for ${text}, and saw ${JSON.stringify(said)}`);
  }

  /** Clicks as a person would: where the element is on the screen. */
  async click(selector) {
    // A page that is still being read may not have it yet; one that is still moving would
    // take the click for something else.
    await this.evaluate(async (wanted) => {
      let target;
      while (!(target = document.querySelector(wanted))) await new Promise(requestAnimationFrame);
      target.scrollIntoView({ block: 'center' });
      let before;
      let top;
      do {
        before = top;
        await new Promise((resolve) => { setTimeout(resolve, 50); });
        ({ top } = target.getBoundingClientRect());
      } while (top !== before);
    }, selector);
    const { nodes: [element] } = await this.#send('browsingContext.locateNodes', {
      context: this.#context, locator: { type: 'css', value: selector }, maxNodeCount: 1,
    });
    await this.#send('input.performActions', {
      context: this.#context,
      actions: [{
        type: 'pointer',
        id: 'mouse',
        actions: [
          { type: 'pointerMove', x: 0, y: 0, origin: { type: 'element', element: { sharedId: element.sharedId } } },
          { type: 'pointerDown', button: 0 },
          { type: 'pointerUp', button: 0 },
        ],
      }],
    });
  }

  /** Types into the element that has the focus after a click on it. */
  async type(selector, text) {
    await this.click(selector);
    await this.#send('input.performActions', {
      context: this.#context,
      actions: [{
        type: 'key',
        id: 'keyboard',
        actions: [...text].flatMap((value) => [{ type: 'keyDown', value }, { type: 'keyUp', value }]),
      }],
    });
  }

  async shoot(name) {
    const directory = path.join(TARGET, 'screenshots');
    mkdirSync(directory, { recursive: true });
    const { data } = await this.#send('browsingContext.captureScreenshot', { context: this.#context, origin: 'document' });
    writeFileSync(path.join(directory, `${name}.png`), Buffer.from(data, 'base64'));
  }
}
