// What the suites in JavaScript share: the system's description, a list of cases, and
// a small browser that signs a user in.
import { strict as assert } from "node:assert";
import { createPrivateKey } from "node:crypto";

// Written by tests/it/oauth/libraries.rs, which starts the system.
export const suite = JSON.parse(process.env.CLOAKROOM_SUITE);
export const issuer = new URL(suite.issuer);
export const at = (path) => new URL(path, issuer);

const cases = [];

/** Names a case. All of them run, one after the other. */
export function test(name, run) {
  cases.push({ name, run });
}

/** Runs the cases; the process fails if one of them does. */
export async function run() {
  let failed = 0;
  for (const { name, run } of cases) {
    try {
      await run();
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}`);
      console.log(error);
    }
  }
  console.log(`${cases.length - failed} of ${cases.length}`);
  process.exitCode = failed === 0 && cases.length > 0 ? 0 : 1;
}

/** The private key of a client, as WebCrypto has it. */
export function privateKey({ pem, curve }) {
  const der = createPrivateKey(pem).export({ type: "pkcs8", format: "der" });
  const algorithm = { name: "ECDSA", namedCurve: curve };
  return crypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
}

/** Cookies, redirects, meta refresh and forms; no script. */
export class Browser {
  #cookies = new Map();

  async #step(url, init = {}) {
    const headers = new Headers(init.headers);
    const cookies = [...this.#cookies]
      .filter(([key]) => key.startsWith(`${url.hostname} `))
      .map(([key, value]) => `${key.split(" ")[1]}=${value}`);
    if (cookies.length > 0) headers.set("cookie", cookies.join("; "));
    const answer = await fetch(url, { ...init, headers, redirect: "manual" });
    for (const line of answer.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split("; ");
      const [name, value] = pair.split(/=(.*)/s);
      const key = `${url.hostname} ${name}`;
      if (attributes.includes("Max-Age=0")) this.#cookies.delete(key);
      else this.#cookies.set(key, value);
    }
    return answer;
  }

  /** Goes to `url`, signs `user` in and agrees to what it is asked, until it is sent to
   * `redirectUri`; there. */
  async authorize(url, redirectUri, user = "alice", decision = "allow") {
    let next = { url: new URL(url) };
    for (let hop = 0; hop < 12; hop += 1) {
      const answer = await this.#step(next.url, next.init);
      const location = answer.headers.get("location");
      if (location !== null) {
        assert.equal(answer.status, 303, `${next.url.pathname} redirects by 303`);
        const target = new URL(location, next.url);
        if (target.href.startsWith(redirectUri)) return target;
        next = { url: target };
        continue;
      }
      const page = await answer.text();
      assert.equal(answer.status, 200, `${next.url}: ${page}`);
      const refresh = /http-equiv="refresh" content="[^"]*url=([^"]*)"/.exec(page);
      if (refresh !== null) {
        next = { url: new URL(unescape(refresh[1]), next.url) };
        continue;
      }
      next = submit(page, next.url, { username: user, password: user, decision });
    }
    throw new Error("sent round in circles");
  }
}

function submit(page, url, answers) {
  const [, tag, inside] = /<form([^>]*)>([\s\S]*?)<\/form>/.exec(page) ?? [];
  assert.ok(tag !== undefined, `a form in ${page}`);
  const attribute = (text, name) => {
    const found = new RegExp(` ${name}="([^"]*)"`).exec(text);
    return found === null ? undefined : unescape(found[1]);
  };
  const body = new URLSearchParams();
  for (const [input] of inside.matchAll(/<(?:input|button)[^>]*>/g)) {
    const name = attribute(input, "name");
    if (name === undefined || body.has(name)) continue;
    body.set(name, answers[name] ?? attribute(input, "value") ?? "");
  }
  const target = new URL(attribute(tag, "action") || url.href, url);
  const headers = { origin: target.origin === url.origin ? url.origin : "null" };
  return { url: target, init: { method: "POST", body, headers } };
}

function unescape(text) {
  return text
    .replaceAll("&quot;", '"')
    .replaceAll("&#39;", "'")
    .replaceAll("&#x27;", "'")
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&amp;", "&");
}

/** What an API says to a bearer of `token`. */
export async function call(path, token) {
  return fetch(at(path), { headers: { authorization: `Bearer ${token}` } });
}

/** The shape of our tokens. */
export const TOKEN = {
  access: /^cr_at_[A-Za-z0-9_-]{64}[0-9A-Za-z]{6}$/,
  refresh: /^cr_rt_[A-Za-z0-9_-]{64}[0-9A-Za-z]{6}$/,
};
