// What is attested of a call, held against what browsers counted; see `../attest.mjs`.

import { attest } from '../attest.mjs';
import { least, most } from '../check.mjs';

export const attestedRows = [
  {
    name: 'attestation',
    what: 'a call of 90 s, Chromium and Firefox: camera off from 30 to 50 s, all of the doctor’s line lost for 10 s; the signed statement against each browser’s own counters',
    seconds: 240,
    alone: true,
    async run({ seed }) {
      const { off, differing, said } = await attest({ seed });
      return {
        checks: [
          most('streams with other intervals than the browser counted', differing, 0, 'count'),
          most('farthest end of an interval', off / 1000, 1, 's'),
          least('video both ways', said.summary.video_two_way_s, 40, 's'),
        ],
      };
    },
  },
];
