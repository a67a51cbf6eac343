// The example page: what the browser holds, what the service received.

import { fetch, loginUrl, logout, session, Unavailable } from './cloakroom.js';

const TICKET_LENGTH = 76;

const element = (id) => document.getElementById(id);

/** What a status means to the person in front of the screen. */
function inWords(status) {
  switch (status) {
    case 401: return 'Refused (401): nobody was signed in.';
    case 403: return 'Refused (403): you are known, but you may not see this.';
    case 429: return 'Refused (429): too many requests. Wait a moment and try again.';
    case 503: return 'Unavailable (503): nobody can tell right now who you are, so nobody is let in. Try again.';
    default: return `The answer was ${status}, which this page did not expect.`;
  }
}

function whyNot(error) {
  return error instanceof Unavailable ? inWords(error.status) : 'No answer: the gateway cannot be reached.';
}

// Who is there

let shown; // whose identity is on the page

// Without a user there is more to say than that: see `ended` and `signOut`.
session.addEventListener('change', () => session.user && showSession());

session.addEventListener('ended', ({ detail: { reason } }) => {
  if (reason === 'expired') askToSignInAgain();
  else if (!session.user) showNobody('You have signed out in another tab.');
});

session.addEventListener('expiring', ({ detail: { seconds, extendable } }) => {
  element('expiring-text').textContent =
    `Your session ends in ${inTime(seconds)}.${extendable ? '' : ' Then you will have to sign in again.'}`;
  element('stay').hidden = !extendable;
  element('expiring').hidden = false;
});

session.addEventListener('signin', (event) => {
  event.preventDefault();
  askToSignInAgain();
});

function showSession() {
  const { subject, claims: { name, email, roles = [] } } = session.user;
  const known = [email, roles.length > 0 && `roles ${roles.join(', ')}`].filter(Boolean).join('; ');
  element('who').textContent = `You are ${name ?? subject}${known && ` (${known})`}.`;
  const [idle, end] = [clock(session.idleEndsAt), clock(session.endsAt)];
  element('until').textContent = session.idleEndsAt < session.endsAt
    ? `The session ends at ${idle} if you do nothing, and at ${end} in any case.`
    : `The session ends at ${end}.`;
  element('expiring').hidden = true;
  element('again').close();
  showSignedIn(true);
  if (shown !== subject) showIdentity();
  shown = subject;
}

function showNobody(why) {
  element('who').textContent = why;
  element('until').textContent = '';
  element('expiring').hidden = true;
  element('verdict').textContent = '';
  element('answer').hidden = true;
  showSignedIn(false);
  showReceived(null);
  shown = undefined;
}

function showSignedIn(signedIn) {
  element('sign-in').hidden = signedIn;
  element('sign-out').hidden = !signedIn;
  element('ticket').hidden = !signedIn;
  element('no-ticket').hidden = signedIn;
  element('readable').textContent = document.cookie === '' ? 'no cookie at all' : `only ${document.cookie}`;
}

/** In another tab, so that nothing on this page is lost. */
function askToSignInAgain() {
  element('expiring').hidden = true;
  if (!element('again').open) element('again').showModal();
}

function clock(then) {
  return then.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}

function inTime(seconds) {
  return seconds < 90 ? `${seconds} seconds` : `${Math.round(seconds / 60)} minutes`;
}

// What the service saw

async function showIdentity() {
  const asked = fetch('/api/profile').then((response) => (response.ok ? response.json() : null));
  showReceived(await asked.catch(() => null));
}

function showReceived(profile) {
  element('identity').hidden = !profile;
  element('no-identity').hidden = Boolean(profile);
  const { sub, aud, exp } = profile?.claims ?? {};
  element('about').textContent = sub ?? '';
  element('for').textContent = aud ?? '';
  element('good-until').textContent = exp ? clock(new Date(exp * 1000)) : '';
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
    const response = await fetch(path, { cache: 'no-store' });
    const data = await response.json().catch(() => null);
    verdict.textContent = response.ok ? `${path} answered (${response.status}).` : inWords(response.status);
    answer.textContent = pretty(data);
    answer.hidden = data === null;
    if (response.ok && path === '/api/profile') showReceived(data);
  } catch (error) {
    verdict.textContent = whyNot(error);
    answer.hidden = true;
  }
}

async function signOut() {
  try {
    await logout();
    showNobody('Nobody is signed in.');
  } catch (error) {
    element('who').textContent = `You are still signed in. ${whyNot(error)}`;
  }
}

// Start

element('who').textContent = 'Asking …';
element('dots').textContent = '•'.repeat(TICKET_LENGTH - 'cr_st_'.length);
element('sign-out').addEventListener('click', signOut);
element('stay').addEventListener('click', () => session.refresh().catch(() => {}));
element('sign-in').href = loginUrl();
element('sign-in-again').href = loginUrl({ returnTo: '/signed-in.html' });
element('stay-out').addEventListener('click', () => element('again').close());
// Also by the Escape key.
element('again').addEventListener('close', () => {
  if (session.user) return;
  session.giveUp();
  showNobody('Your session has ended.');
});
for (const button of document.querySelectorAll('[data-call]')) {
  button.addEventListener('click', () => call(button.dataset.call));
}
try {
  if (!await session.refresh()) showNobody('Nobody is signed in.');
} catch (error) {
  showNobody(whyNot(error));
}
