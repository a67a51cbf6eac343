// Runs vectors.json against viewer-request.js, as CloudFront would call it.
// Exit status 0 if every vector holds. Needs nothing but Node.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import vm from 'node:vm';

const read = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const { public_origin: publicOrigin, allow_headers: allowHeaders, vectors } = JSON.parse(read('vectors.json'));
const handlers = { rest: load('rest'), http: load('http') };

for (const { name, api, path, headers, expect } of vectors) {
    assert.deepEqual(outcome(handlers[api], path, headers), sorted(expect), name);
}
console.log(`${vectors.length} vectors hold`);

/** The script as the template would deploy it. */
function load(api) {
    const settings = { PublicOrigin: publicOrigin, ApiKind: api, AllowHeaders: allowHeaders };
    const source = read('viewer-request.js').replace(
        /\$\{(\w+)\}/g,
        (_, setting) => settings[setting] ?? assert.fail(`unknown setting ${setting}`),
    );
    const limit = 10 * 1024;
    assert.ok(Buffer.byteLength(source) <= limit, 'CloudFront takes 10 KB at most');
    return vm.runInNewContext(`${source}\nhandler;`);
}

function outcome(handler, path, headers) {
    const viewer = { ip: '198.51.100.7' };
    const answer = handler({ version: '1.0', viewer, request: request(path, headers) });
    if (answer.statusCode) {
        assert.equal('www-authenticate' in answer.headers, answer.statusCode === 401);
        return { refuse: answer.statusCode };
    }
    assert.equal(answer.uri, path);
    // The emulation has no viewer, and no rate rule that would need one.
    assert.deepEqual({ ...answer.headers['x-cloakroom-viewer'] }, { value: viewer.ip });
    delete answer.headers['x-cloakroom-viewer'];
    return sorted({ forward: pairs(answer) });
}

/** CloudFront's form: lower-case header names, cookies apart, `multiValue` if repeated. */
function request(path, pairs) {
    const headers = {};
    const cookies = {};
    for (const [name, value] of pairs) {
        if (name !== 'cookie') {
            add(headers, name, value);
            continue;
        }
        for (const pair of value.split(';')) {
            const [, key, text] = /^\s*([^=]*)=(.*?)\s*$/.exec(pair) ?? [];
            if (key !== undefined) add(cookies, key, text);
        }
    }
    return { method: 'GET', uri: path, querystring: {}, headers, cookies };
}

function add(map, name, value) {
    if (!map[name]) {
        map[name] = { value };
        return;
    }
    map[name].multiValue ??= [{ value: map[name].value }];
    map[name].multiValue.push({ value });
}

/** Back to lines, with all cookies in one header. */
function pairs({ headers, cookies }) {
    const each = (map) => Object.entries(map).flatMap(([name, { value, multiValue }]) =>
        (multiValue ?? [{ value }]).map((one) => [name, one.value]));
    const line = each(cookies).map((pair) => pair.join('=')).join('; ');
    return line ? [...each(headers), ['cookie', line]] : each(headers);
}

function sorted({ forward, refuse }) {
    return forward ? { forward: forward.map((pair) => pair.join(': ')).sort() } : { refuse };
}
