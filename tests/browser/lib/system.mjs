// The whole system as anybody starts it: the command, the URLs that it prints, and its
// last line.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
export const TARGET = path.resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target');

const START_LIMIT = 60_000;
const STOP_LIMIT = 10_000;

/** What `make test` has built, or a new one. */
function program() {
  const built = path.join(TARGET, 'debug', 'cloakroom');
  if (!existsSync(built)) {
    execFileSync('cargo', ['build', '--package', 'cloakroom'], { cwd: ROOT, stdio: 'inherit' });
  }
  return built;
}

/**
 * The demo's configuration with other settings: `top` are lines before any table,
 * `session` are lines for its table, `providers` replaces the identity providers.
 */
export function demoConfig({ top = '', session = '', providers } = {}) {
  let text = `${top}\n${readFileSync(path.join(ROOT, 'cloakroom.toml'), 'utf8')}`;
  text = text.replace('\n[session]\n', `\n[session]\n${session}\n`);
  if (providers) {
    const block = /\[\[identity_providers\]\]\n(?:[^[].*\n)+/;
    if (!block.test(text)) throw new Error('cloakroom.toml has no identity provider to replace');
    text = text.replace(block, () => providers);
  }
  return text;
}

/** Starts a system of its own on a free port; it ends with `stop()`. */
export async function startSystem({ config, args = [], env = {} } = {}) {
  const directory = mkdtempSync(path.join(tmpdir(), 'cloakroom-browser-'));
  const options = ['dev', '--port', '0', ...args];
  if (config) {
    const file = path.join(directory, 'cloakroom.toml');
    writeFileSync(file, config);
    options.push('--config', file);
  }
  const child = spawn(program(), options, {
    cwd: directory,
    env: { ...process.env, CLOAKROOM_CONFIG: '', CLOAKROOM_LOG: 'info', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const system = { url: null, provider: null, log: '', child };
  const ended = new Promise((resolve) => child.once('close', resolve));
  system.stop = async () => {
    child.kill('SIGTERM');
    const enough = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT);
    await ended;
    clearTimeout(enough);
    rmSync(directory, { recursive: true, force: true });
  };
  // A test that dies must not leave a system behind.
  process.once('exit', () => child.kill('SIGKILL'));
  const keep = (chunk) => { system.log += chunk; };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);

  await new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`the system did not start: ${why}\n${system.log}`));
    const timer = setTimeout(fail, START_LIMIT, `no "ready" within ${START_LIMIT} ms`);
    ended.then((code) => fail(`it ended with ${code}`));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [, name, url] = /^(Example page|Demo provider) +(\S+)$/.exec(line) ?? [];
      if (name === 'Example page') system.url = url.replace(/\/$/, '');
      if (name === 'Demo provider') system.provider = url;
      if (line === 'ready') {
        clearTimeout(timer);
        resolve();
      }
    });
  });
  return system;
}
