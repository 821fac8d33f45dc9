// Two Firefox and one Chromium in one room.

import { threeInACall } from '../lib/call.mjs';
import { scenario } from '../lib/stage.mjs';

scenario('two Firefox and one Chromium: pictures, sound, chat', async (stage) => {
  const people = [
    await stage.participant('doctor', 'firefox'),
    await stage.participant('patient', 'chromium'),
    await stage.participant('companion', 'firefox'),
  ];
  await threeInACall(stage, people);
});
