// Three Chromium browsers, a process each, in one room.

import { threeInACall } from '../lib/call.mjs';
import { scenario } from '../lib/stage.mjs';

scenario('three Chromium: pictures, sound, chat', async (stage) => {
  const people = [];
  for (const name of ['doctor', 'patient', 'companion']) people.push(await stage.participant(name, 'chromium'));
  await threeInACall(stage, people);
});
