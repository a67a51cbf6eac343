// What a page needs of Cloakroom: sign in, sign out, who is there, and a `fetch`
// that carries the session. One file without dependencies: copy it.
//
// The page never sees a token. The browser sends the session's cookie by itself, no
// script can read it, and `X-CSRF` shows that a page of ours asked. So there is
// nothing to store, to refresh or to leak here.

const CSRF = 'X-CSRF'; // a form or an image on another site cannot send it
const LEAD = 120_000; // how long before the end `expiring` is told, at most
const SLIDE_EVERY = 60_000; // a user who works keeps the session: asked at most this often
const ROUNDING = 1_500; // the server counts in whole seconds
const RETRY = 5_000; // when nobody answers
const LONGEST_TIMER = 2 ** 31 - 1; // a longer one would fire at once

/** Other tabs hear of a change. It makes them ask the server; it is never believed. */
const tabs = new BroadcastChannel('cloakroom');

/** Nobody can tell right now: the session may well be alive. */
export class Unavailable extends Error {
  constructor(status) {
    super(`the answer was ${status}`);
    this.name = 'Unavailable';
    this.status = status;
  }
}

/**
 * The session, as far as a page may know it. Events:
 *
 * - `change`: `user`, `endsAt` or `idleEndsAt` is new.
 * - `expiring`: it ends in `detail.seconds`; `refresh()` prolongs it if
 *   `detail.extendable`.
 * - `ended`: it is over though this page did not end it. `detail.reason` is `expired`,
 *   or `elsewhere`: another tab has signed out, or signed in somebody else.
 * - `signin`: a request needs a session that has expired. If you ask the user to sign
 *   in again, say so by `preventDefault()`: the request waits, and is repeated when the
 *   same person is back. `giveUp()` ends the waiting.
 */
class Session extends EventTarget {
  /** `{ subject, claims }`, `null` if nobody is signed in, `undefined` until we know. */
  user;
  /** When it ends whatever happens. */
  endsAt = null;
  /** When it ends if nothing happens. */
  idleEndsAt = null;

  #owner = null; // whose page this is, also after the session has expired
  #last = Promise.resolve(); // one question at a time, so that no answer is out of date
  #timer;
  #end = 0;
  #lead = 0;
  #warned = false;
  #slidAt = 0;
  #waiting = null; // for the user to sign in again
  #goOn = () => {};

  /**
   * Asks the server who is there, and keeps the session alive unless `slide` is false.
   * Rejects when nobody can tell, which says nothing about the session.
   */
  refresh({ slide = true } = {}) {
    return this.#inTurn(() => this.#ask(slide, 'expired'));
  }

  /** Ends the session, here and in other tabs; returns the answer of `/auth/logout`. */
  end() {
    return this.#inTurn(async () => {
      const response = await send('/auth/logout', 'POST');
      if (!response.ok) throw new Unavailable(response.status);
      this.#owner = this.user = this.endsAt = this.idleEndsAt = null;
      clearTimeout(this.#timer);
      tabs.postMessage(null);
      this.#tell('change');
      return response.json();
    });
  }

  /** The user does something, so the session should not end for want of it. */
  touch() {
    const pause = Math.min(SLIDE_EVERY, (this.idleEndsAt - this.#slidAt) / 4);
    if (!this.user || Date.now() - this.#slidAt < pause) return;
    this.refresh().catch(() => {});
  }

  /** Whether a request that was answered with 401 is worth repeating. */
  async recover() {
    const owner = this.#owner;
    if (owner === null) return false;
    try {
      // Perhaps somebody has just signed in again in another tab.
      if (!await this.refresh({ slide: false })) {
        this.#waiting ??= this.#wait().finally(() => { this.#waiting = null; });
        await this.#waiting;
      }
    } catch {
      return false;
    }
    // A request of one person must never be repeated as another.
    return this.user?.subject === owner;
  }

  /** The user does not sign in again: whatever waits for that gets its 401. */
  giveUp() {
    this.#owner = null;
    this.#goOn();
  }

  /** The user is back at this page; meanwhile anything may have happened. */
  look() {
    if (this.#owner !== null) this.refresh({ slide: false }).catch(() => {});
  }

  /** Another tab says who is signed in there. */
  heard(subject) {
    if (this.user === undefined || subject === (this.user?.subject ?? null)) return;
    this.#inTurn(() => this.#ask(false, subject === null ? 'elsewhere' : 'expired')).catch(() => {});
  }

  #inTurn(task) {
    const turn = this.#last.then(task);
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #ask(slide, reason) {
    const asked = Date.now();
    if (slide) this.#slidAt = asked;
    const response = await send(`/auth/session${slide ? '' : '?slide=false'}`);
    if (response.status === 401) this.#lose(reason);
    else if (response.ok) this.#learn(await response.json(), asked);
    else throw new Unavailable(response.status);
    return this.user;
  }

  #learn({ subject, claims = {}, expires_in: end, idle_expires_in: idle }, asked) {
    const before = this.user?.subject;
    const owner = this.#owner;
    this.#owner = subject;
    this.user = { subject, claims };
    // Seconds from now: a wrong clock on this side does not matter.
    this.endsAt = new Date(asked + end * 1000);
    this.idleEndsAt = new Date(asked + idle * 1000);
    if (owner !== null && owner !== subject) this.#tell('ended', { reason: 'elsewhere' });
    this.#tell('change');
    this.#watch();
    this.#goOn();
    if (before !== subject) tabs.postMessage(subject);
  }

  #lose(reason) {
    const before = this.user;
    this.user = this.endsAt = this.idleEndsAt = null;
    clearTimeout(this.#timer);
    if (reason !== 'expired') this.#owner = null;
    if (before) this.#tell('ended', { reason });
    if (before !== null) this.#tell('change');
  }

  /** Asks again shortly before the end, and at it: another tab may have moved it. */
  #watch() {
    clearTimeout(this.#timer);
    const end = Math.min(this.endsAt, this.idleEndsAt);
    const left = end - Date.now();
    if (Math.abs(end - this.#end) > ROUNDING) {
      this.#end = end;
      this.#lead = Math.min(LEAD, left / 4);
      this.#warned = false;
    }
    if (!this.#warned && left <= this.#lead) {
      this.#warned = true;
      const seconds = Math.max(0, Math.round(left / 1000));
      this.#tell('expiring', { seconds, extendable: this.idleEndsAt < this.endsAt });
    }
    this.#askIn(this.#warned ? left : left - this.#lead);
  }

  #askIn(wait) {
    this.#timer = setTimeout(async () => {
      try {
        await this.refresh({ slide: false });
      } catch {
        if (this.endsAt && Date.now() > +this.endsAt + ROUNDING) this.#lose('expired');
        else if (this.user) this.#askIn(RETRY);
      }
    }, Math.min(Math.max(wait, 500), LONGEST_TIMER));
  }

  /** Until somebody is signed in again, or nobody wants to. */
  async #wait() {
    const nobodyAsks = this.dispatchEvent(new Event('signin', { cancelable: true }));
    if (!nobodyAsks) await new Promise((resolve) => { this.#goOn = resolve; });
  }

  #tell(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

export const session = new Session();

/**
 * Where to sign in. A plain link to it will do, also one with `target="_blank"`, which
 * leaves this page as it is. `returnTo` is a path of ours; `idp`, `maxAge` (seconds since
 * the last sign-in) and `acrValues` are for several providers and for stepping up.
 */
export function loginUrl({ returnTo = location.pathname + location.search + location.hash, idp, maxAge, acrValues } = {}) {
  const asked = { return_to: returnTo, idp, max_age: maxAge, acr_values: acrValues };
  const known = Object.entries(asked).filter(([, value]) => value !== undefined);
  return `/auth/login?${new URLSearchParams(known)}`;
}

/** Leaves this page to sign in, and comes back to it. */
export function login(options) {
  location.assign(loginUrl(options));
}

/** Signs out here, then at the identity provider if it has a page for that. */
export async function logout() {
  const { logout_url: elsewhere } = await session.end();
  const url = typeof elsewhere === 'string' && URL.canParse(elsewhere) ? new URL(elsewhere) : null;
  // Never `javascript:`, whoever wrote that answer.
  if (url && ['https:', 'http:'].includes(url.protocol)) location.assign(url);
}

/**
 * As `fetch`, with the proof that a page of ours asks. When the session has expired, the
 * user can sign in again, and the request is repeated: see the event `signin`.
 */
export async function fetch(input, init) {
  const request = new Request(input, init);
  // What goes to others gets nothing of ours.
  if (new URL(request.url).origin !== location.origin) return globalThis.fetch(request);
  request.headers.set(CSRF, '1');
  const response = await globalThis.fetch(request.clone());
  if (response.status !== 401 || !await session.recover()) return response;
  return globalThis.fetch(request);
}

function send(path, method = 'GET') {
  return globalThis.fetch(path, { method, headers: { [CSRF]: '1' }, cache: 'no-store', redirect: 'error' });
}

tabs.addEventListener('message', ({ data }) => session.heard(data));
addEventListener('pageshow', ({ persisted }) => persisted && session.look());
addEventListener('online', () => session.look());
document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && session.look());
for (const sign of ['pointerdown', 'keydown']) addEventListener(sign, () => session.touch(), { passive: true });
