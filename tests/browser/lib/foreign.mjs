// A hostile page: the same server under two names. On `evil.test` it is another site, to
// which no cookie of ours goes. On `localhost` it is another origin of the *same* site (a
// browser's sites know no ports), so that SameSite is no help, as on a sibling host.

import { createServer } from 'node:http';

export const EVIL_HOST = 'evil.test';

export async function startForeign() {
  const pages = new Map();
  const server = createServer((request, response) => {
    const page = pages.get(request.url);
    response.writeHead(page ? 200 : 404, { 'content-type': 'text/html; charset=utf-8' });
    response.end(page ?? '');
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address();
  return {
    origins: {
      'another site': `http://${EVIL_HOST}:${port}`,
      'a sibling on the same site': `http://localhost:${port}`,
    },
    /** Makes a page; returns its path. */
    page(body) {
      const path = `/${pages.size + 1}`;
      pages.set(path, `<!doctype html><html><head><meta charset="utf-8"></head><body>${body}</body></html>`);
      return path;
    },
    stop() {
      server.closeAllConnections();
      return new Promise((resolve) => { server.close(resolve); });
    },
  };
}
