// Rows that the browser scenarios of `make test` already measure: run from there, not repeated here.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { least, most } from '../check.mjs';

const BROWSER = fileURLToPath(new URL('../../browser/', import.meta.url));

function scenarioFile(name, what, file, seconds) {
  return {
    name,
    what: `${what} ([scenario](../tests/browser/scenarios/${file}))`,
    seconds,
    alone: true,
    async run({ signal }) {
      const child = spawn(process.execPath, ['--test', '--test-reporter=tap', path.join('scenarios', file)], { cwd: BROWSER, stdio: ['ignore', 'pipe', 'inherit'], signal, killSignal: 'SIGTERM' });
      child.on('error', () => {});
      let text = '';
      child.stdout.setEncoding('utf8');
      child.stdout.on('data', (more) => {
        text = (text + more).slice(-200_000);
      });
      await once(child, 'close');
      const count = (word) => Number(new RegExp(`^# ${word} (\\d+)$`, 'm').exec(text)?.[1] ?? NaN);
      return { checks: [most('failed', count('fail'), 0, 'count'), least('passed', count('pass'), 1, 'count')] };
    },
  };
}

export const elsewhereRows = [
  scenarioFile('two-connections', 'clients with two peer connections, and mixed with others: all of a call, resume included', '11-two-connections.test.mjs', 600),
  scenarioFile('codecs', 'VP8, H.264, VP9 and AV1 with their layers, Chromium and Firefox', '12-codecs.test.mjs', 600),
];
