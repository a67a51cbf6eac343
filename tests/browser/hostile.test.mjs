// Chromium on hostile pages, while alice is signed in: cross-site request forgery, login
// forgery, framing, planted cookies. For the attacks' numbers see the threat model.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import {
  ask, catchCallback, fillDemoForm, person, sees, sessionCookie, shoot, signIn, startChromium,
} from './lib/chromium.mjs';
import { EVIL_HOST, startForeign } from './lib/foreign.mjs';
import { demoConfig, startSystem } from './lib/system.mjs';

const ORIGINS = ['another site', 'a sibling on the same site'];

describe('hostile pages in Chromium', () => {
  let system;
  let browser;
  let foreign;
  let context;
  let page;

  before(async () => {
    system = await startSystem();
    browser = await startChromium({ hosts: [EVIL_HOST] });
    foreign = await startForeign();
  });
  after(async () => {
    await browser?.close();
    await foreign?.stop();
    await system?.stop();
  });
  beforeEach(async () => {
    context = await person(browser);
    page = await context.newPage();
  });
  afterEach(() => context.close());

  /** Opens a page of the attacker's in alice's browser. */
  async function lure(origin, body) {
    const tab = await context.newPage();
    await tab.goto(foreign.origins[origin] + foreign.page(body));
    return tab;
  }

  /**
   * What our side answers to the next request of a tab for an address, and whether the
   * cookie came. Status 0: the browser keeps the answer from the page (opaque response
   * blocking, frames).
   */
  async function answerTo(tab, url) {
    const answered = tab.waitForEvent('response', { predicate: (response) => response.url() === url });
    const failed = tab.waitForEvent('requestfailed', { predicate: (request) => request.url() === url });
    const first = await Promise.any([answered, failed]);
    // The other one need not come.
    Promise.allSettled([answered, failed]);
    const request = 'request' in first ? first.request() : first;
    const { cookie = '' } = await request.allHeaders();
    return { status: 'status' in first ? first.status() : 0, cookie: cookie.includes('__Host-Http-cloakroom=') };
  }

  /**
   * Follows a link, or sends a form, to an address of ours. A navigation from site to
   * site changes the tab's process after the answer has come: only when the new page is
   * there, be it the browser's own about an empty answer, may anything else be done with
   * the tab.
   */
  async function follow(tab, role, url) {
    const answer = answerTo(tab, url);
    await Promise.all([tab.waitForEvent('load'), tab.getByRole(role).click()]);
    return answer;
  }

  async function isStillSignedIn() {
    assert.equal((await ask(page, '/auth/session?slide=false')).body?.subject, 'demo|alice');
    assert.equal((await ask(page, '/api/orders')).status, 200);
  }

  for (const origin of ORIGINS) {
    const withCookie = origin !== 'another site';

    test(`D20 D23: forms on ${origin} change nothing`, async () => {
      await signIn(page, system);
      for (const [path, refused] of [['/auth/logout', 403], ['/api/orders', null]]) {
        for (const enctype of ['application/x-www-form-urlencoded', 'text/plain', 'multipart/form-data']) {
          const tab = await lure(origin, `<form method="post" enctype="${enctype}" action="${system.url}${path}">
            <input name='{"a":"' value='b"}'><button>Win a prize</button></form>`);
          const { status, cookie } = await follow(tab, 'button', system.url + path);
          assert.equal(cookie, withCookie, 'a sibling can make the browser send the cookie, another site cannot');
          if (refused) assert.equal(status, refused, enctype);
          assert.ok(status >= 400, `${path} ${enctype}: ${status}`);
          await tab.close();
        }
      }
      await isStillSignedIn();
    });

    test(`D20 D23: links and images on ${origin} change nothing and show nothing`, async () => {
      await signIn(page, system);
      for (const path of ['/auth/logout', '/api/orders', '/auth/session']) {
        const url = system.url + path;
        const link = await lure(origin, `<a href="${url}">Prize</a>`);
        const linked = await follow(link, 'link', url);
        assert.equal(linked.cookie, withCookie);
        assert.ok(linked.status >= 400, `${path}: ${linked.status}`);
        await link.close();
        const image = await lure(origin, '<img alt="">');
        const loaded = answerTo(image, url);
        await image.evaluate((src) => { document.querySelector('img').src = src; }, url);
        const { status, cookie } = await loaded;
        assert.ok(withCookie || !cookie);
        assert.ok(status === 0 || status >= 400, `${path}: ${status}`);
        await image.close();
      }
      await isStillSignedIn();
    });

    test(`D20 D21: scripts on ${origin} can neither act nor read`, async () => {
      await signIn(page, system);
      const tab = await lure(origin, '');
      const outcomes = await tab.evaluate(async (base) => {
        const attempts = {
          plain: [`${base}/auth/logout`, { method: 'POST', credentials: 'include', mode: 'no-cors' }],
          json: [`${base}/auth/logout`, {
            method: 'POST', credentials: 'include', mode: 'no-cors', body: '{}', headers: { 'content-type': 'text/plain' },
          }],
          preflighted: [`${base}/auth/logout`, { method: 'POST', credentials: 'include', headers: { 'x-csrf': '1' } }],
          read: [`${base}/auth/session`, { credentials: 'include' }],
          preflightedRead: [`${base}/auth/session`, { credentials: 'include', headers: { 'x-csrf': '1' } }],
          orders: [`${base}/api/orders`, { credentials: 'include', headers: { 'x-csrf': '1' } }],
          override: [`${base}/auth/session`, {
            method: 'POST', credentials: 'include', mode: 'no-cors', headers: { 'X-HTTP-Method-Override': 'POST' },
          }],
        };
        const result = {};
        for (const [name, [url, init]] of Object.entries(attempts)) {
          result[name] = await fetch(url, init).then((response) => response.type, () => 'blocked');
        }
        navigator.sendBeacon(`${base}/auth/logout`, 'x');
        return result;
      }, system.url);
      assert.deepEqual(outcomes, {
        plain: 'opaque', json: 'opaque', override: 'opaque',
        preflighted: 'blocked', read: 'blocked', preflightedRead: 'blocked', orders: 'blocked',
      });
      await isStillSignedIn();
    });

    test(`D14: images, frames, scripts and prefetches on ${origin} start no sign-in`, async () => {
      await page.goto(system.url);
      const tab = await lure(origin, '');
      for (const [number, start] of [
        (url) => { const e = new Image(); e.src = url; document.body.append(e); },
        (url) => { const e = document.createElement('iframe'); e.src = url; document.body.append(e); },
        (url) => { const e = document.createElement('object'); e.data = url; document.body.append(e); },
        (url) => { const e = document.createElement('script'); e.src = url; document.body.append(e); },
        (url) => { const e = document.createElement('link'); e.rel = 'prefetch'; e.href = url; document.head.append(e); },
        (url) => { fetch(url, { credentials: 'include', mode: 'no-cors' }).catch(() => {}); },
      ].entries()) {
        // Each asks for another address: a late failure of one is not taken for the next.
        const url = `${system.url}/auth/login?return_to=/${number}`;
        const answer = answerTo(tab, url);
        await tab.evaluate(start, url);
        const { status } = await answer;
        assert.ok([0, 403].includes(status), `${status}: ${start}`);
      }
      assert.deepEqual(context.urls.filter((url) => url.startsWith(system.provider)), []);
      assert.deepEqual(await context.cookies(), []);
    });

    test(`no page of ours can be framed by ${origin}`, async () => {
      await signIn(page, system);
      const paths = ['/', '/signed-in.html', '/auth/login', '/auth/callback?state=x&code=y', '/oauth/authorize?client_id=demo-native'];
      const tab = await lure(origin, paths.map((path) => `<iframe src="${system.url}${path}"></iframe>`).join(''));
      const frames = tab.frames().slice(1);
      assert.equal(frames.length, paths.length);
      for (const frame of frames) {
        await frame.waitForURL('chrome-error://chromewebdata/', { waitUntil: 'commit' });
      }
      await shoot(tab, `30-framed-by-${withCookie ? 'sibling' : 'another-site'}`);
    });

    test(`D2: ${origin} cannot sign a person in as the attacker`, async () => {
      // The attacker signs in, and keeps the callback for the victim.
      const attacker = await person(browser);
      const theirs = await attacker.newPage();
      await theirs.goto(`${system.url}/auth/login?return_to=/`);
      const trap = await catchCallback(theirs, () => fillDemoForm(theirs, 'bob'));

      // The victim has sign-ins of her own under way.
      await page.goto(`${system.url}/auth/login?return_to=/`);
      const tab = await lure(origin, `<a href="${trap.replaceAll('&', '&amp;')}">Prize</a>`);
      assert.equal((await follow(tab, 'link', trap)).status, 400);
      await sees(tab.locator('h1'), 'No sign-in is under way');
      assert.equal(await sessionCookie(context), undefined);
      await attacker.close();

      await fillDemoForm(page, 'alice');
      await sees(page.locator('#who'), 'You are Alice Example');
    });
  }

  test('D1: a code of the attacker\'s in the victim\'s own sign-in is refused, and the sign-in is over', async () => {
    const attacker = await person(browser);
    const theirs = await attacker.newPage();
    await theirs.goto(`${system.url}/auth/login?return_to=/`);
    const stolen = new URL(await catchCallback(theirs, () => fillDemoForm(theirs, 'bob')));
    await attacker.close();

    await page.goto(`${system.url}/auth/login?return_to=/`);
    const own = await catchCallback(page, () => fillDemoForm(page, 'alice'));
    const mixed = new URL(own);
    mixed.searchParams.set('code', stolen.searchParams.get('code'));
    assert.equal((await page.goto(mixed.href)).status(), 400);
    assert.equal(await sessionCookie(context), undefined);
    // Burnt: her own code does not help any more.
    assert.equal((await page.goto(own)).status(), 400);
    assert.deepEqual(await context.cookies(), []);
  });

  test('D21: a page of an allowed origin calls with a token of its own, and never with the cookie', async () => {
    const shop = foreign.origins['a sibling on the same site'];
    const open = await startSystem({ config: demoConfig({ top: `allowed_origins = ["${shop}"]` }) });
    try {
      await signIn(page, open);
      const machine = await fetch(`${open.url}/oauth/token`, {
        method: 'POST',
        headers: { authorization: `Basic ${btoa('demo-machine:demo-machine-secret')}` },
        body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'orders:read' }),
      });
      const { access_token: token } = await machine.json();
      const outcomes = async (origin, base) => {
        const tab = await lure(origin, '');
        const result = await tab.evaluate(async ([url, bearer]) => {
          const asked = {
            cookie: [`${url}/api/orders`, { credentials: 'include', headers: { 'x-csrf': '1' } }],
            session: [`${url}/auth/session`, { credentials: 'include', headers: { 'x-csrf': '1' } }],
            signOut: [`${url}/auth/logout`, { method: 'POST', credentials: 'include', headers: { 'x-csrf': '1' } }],
            token: [`${url}/api/orders`, { headers: { authorization: bearer } }],
            badToken: [`${url}/api/orders`, { headers: { authorization: `${bearer}x` } }],
          };
          const each = Object.entries(asked).map(async ([name, [where, init]]) => (
            [name, await fetch(where, init).then(({ status }) => status, () => 'blocked')]
          ));
          return Object.fromEntries(await Promise.all(each));
        }, [base, `Bearer ${token}`]);
        await tab.close();
        return result;
      };
      const never = { cookie: 'blocked', session: 'blocked', signOut: 'blocked' };
      assert.deepEqual(await outcomes('a sibling on the same site', open.url), { ...never, token: 200, badToken: 401 });
      assert.deepEqual(await outcomes('another site', open.url), { ...never, token: 'blocked', badToken: 'blocked' });
      assert.equal((await ask(page, '/api/orders')).status, 200, 'she is still signed in');
    } finally {
      await page.close();
      await open.stop();
    }
  });

  test('D4 D15 D71: a script cannot plant a session or a sign-in', async () => {
    const tab = await lure('a sibling on the same site', '');
    const planted = await tab.evaluate(() => {
      for (const name of ['__Host-Http-cloakroom', '__host-http-cloakroom', '__Host-Http-login-AAAAAAAAAAAAAAAA']) {
        for (const attributes of ['path=/; secure', 'path=/', 'path=/; secure; domain=localhost']) {
          document.cookie = `${name}=planted; ${attributes}`;
        }
      }
      return document.cookie;
    });
    assert.equal(planted, '');
    assert.deepEqual(await context.cookies(), []);
  });

  test('D6: a sign-in lands nowhere else, whatever it was asked', async () => {
    const elsewhere = foreign.origins['another site'];
    for (const target of [elsewhere, elsewhere.replace('http:', ''), `/\\${EVIL_HOST}`, `/\t/${EVIL_HOST}`, 'javascript:alert(1)']) {
      await page.goto(`${system.url}/auth/login?prompt=login&return_to=${encodeURIComponent(target)}`);
      await fillDemoForm(page, 'alice');
      await page.waitForURL(`${system.url}/`);
    }
  });

  test('what another site learns from a link of ours is our origin at most', async () => {
    await signIn(page, system);
    const callback = context.urls.find((url) => url.includes('/auth/callback?'));
    const answer = await page.goto(callback);
    assert.equal(answer.headers()['referrer-policy'], 'no-referrer');
    assert.equal(answer.headers()['cache-control'], 'no-store');
    assert.equal(answer.headers()['x-frame-options'], 'DENY');
  });
});
