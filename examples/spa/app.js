// One page over Cloakroom. It never sees a token: the browser sends the session
// cookie by itself, and `X-CSRF` shows that a page of ours asked, not a form elsewhere.

const TICKET_LENGTH = 76;

const element = (id) => document.getElementById(id);

/** Sends a request with the session; `data` is null unless the answer is JSON. */
async function ask(path, method = 'GET') {
  const response = await fetch(path, { method, headers: { 'X-CSRF': '1' }, cache: 'no-store' });
  const data = await response.json().catch(() => null);
  return { status: response.status, ok: response.ok, data };
}

/** What a status means to the person in front of the screen. */
function inWords(status) {
  switch (status) {
    case 401: return 'Refused (401): you are not signed in, or your session has ended.';
    case 403: return 'Refused (403): you are known, but you may not see this.';
    case 429: return 'Refused (429): too many requests. Wait a moment and try again.';
    case 503: return 'Unavailable (503): nobody can tell right now who you are, so nobody is let in. Try again.';
    default: return `The answer was ${status}, which this page did not expect.`;
  }
}

const NO_ANSWER = 'No answer: the gateway cannot be reached.';

// Who is there

async function refresh() {
  element('who').textContent = 'Asking …';
  try {
    const { status, ok, data } = await ask('/auth/session');
    if (ok && data) {
      showSession(data);
      await showIdentity();
    } else {
      showNobody(status === 401 ? 'Nobody is signed in.' : inWords(status));
    }
  } catch {
    showNobody(NO_ANSWER);
  }
}

function showSession({ subject, claims = {}, expires_in: end, idle_expires_in: idle }) {
  const { name, email, roles = [] } = claims;
  const known = [email, roles.length > 0 && `roles ${roles.join(', ')}`].filter(Boolean).join('; ');
  element('who').textContent = `You are ${name ?? subject}${known && ` (${known})`}.`;
  element('until').textContent = `The session ends at ${clock(end)}, or at ${clock(idle)} if you do nothing.`;
  showSignedIn(true);
}

function showNobody(why) {
  element('who').textContent = why;
  element('until').textContent = '';
  showSignedIn(false);
  showReceived(null);
}

function showSignedIn(signedIn) {
  element('sign-in').hidden = signedIn;
  element('sign-out').hidden = !signedIn;
  element('ticket').hidden = !signedIn;
  element('no-ticket').hidden = signedIn;
  element('readable').textContent = document.cookie === '' ? 'no cookie at all' : `only ${document.cookie}`;
}

function clock(secondsFromNow) {
  const then = new Date(Date.now() + secondsFromNow * 1000);
  return then.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}

// What the service saw

async function showIdentity() {
  const { ok, data } = await ask('/api/profile');
  showReceived(ok ? data : null);
}

function showReceived(profile) {
  element('identity').hidden = !profile;
  element('no-identity').hidden = Boolean(profile);
  element('jwt-header').textContent = pretty(profile?.header);
  element('jwt-claims').textContent = pretty(profile?.claims);
  element('names').replaceChildren(...(profile?.received_headers ?? []).map(nameItem));
}

function nameItem(name) {
  const item = document.createElement('li');
  item.textContent = name;
  return item;
}

function pretty(value) {
  return value == null ? '' : JSON.stringify(value, null, 2);
}

// Calls

async function call(path) {
  const verdict = element('verdict');
  const answer = element('answer');
  verdict.textContent = `Asking ${path} …`;
  try {
    const { status, ok, data } = await ask(path);
    verdict.textContent = ok ? `${path} answered (${status}).` : inWords(status);
    answer.textContent = pretty(data);
    answer.hidden = data === null;
    if (status === 401) showNobody('Nobody is signed in.');
    if (ok && path === '/api/profile') showReceived(data);
  } catch {
    verdict.textContent = NO_ANSWER;
    answer.hidden = true;
  }
}

async function signOut() {
  try {
    const { status, ok, data } = await ask('/auth/logout', 'POST');
    if (!ok && status !== 401) {
      element('who').textContent = `You are still signed in. ${inWords(status)}`;
      return;
    }
    const elsewhere = webAddress(data?.logout_url);
    if (elsewhere) location.assign(elsewhere);
    else location.reload();
  } catch {
    element('who').textContent = `You are still signed in. ${NO_ANSWER}`;
  }
}

/** The identity provider's sign-out page, if that is what it is: never `javascript:`. */
function webAddress(text) {
  if (typeof text !== 'string' || !URL.canParse(text)) return null;
  const url = new URL(text);
  return ['https:', 'http:'].includes(url.protocol) ? url.href : null;
}

// Start

element('dots').textContent = '•'.repeat(TICKET_LENGTH - 'cr_st_'.length);
element('sign-out').addEventListener('click', signOut);
for (const button of document.querySelectorAll('[data-call]')) {
  button.addEventListener('click', () => call(button.dataset.call));
}
// A page that comes out of the back-forward cache may show a session that is gone.
addEventListener('pageshow', ({ persisted }) => persisted && refresh());
await refresh();
