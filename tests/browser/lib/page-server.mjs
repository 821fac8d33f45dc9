// Serves the test page, bundled in memory, on the loopback: a secure context for camera and microphone.

import { build } from 'esbuild';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { fileURLToPath } from 'node:url';

const PAGE = fileURLToPath(new URL('../page/', import.meta.url));

export async function servePage() {
  const bundled = await build({
    entryPoints: [`${PAGE}call.js`],
    bundle: true,
    write: false,
    format: 'iife',
    target: 'es2022',
    logLevel: 'error',
  });
  const files = {
    '/': ['text/html; charset=utf-8', await readFile(`${PAGE}index.html`)],
    '/call.js': ['text/javascript; charset=utf-8', Buffer.from(bundled.outputFiles[0].contents)],
  };
  const server = http.createServer((request, response) => {
    const file = files[new URL(request.url, 'http://localhost').pathname];
    if (!file) response.writeHead(404).end();
    else response.writeHead(200, { 'content-type': file[0], 'cache-control': 'no-store' }).end(file[1]);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
