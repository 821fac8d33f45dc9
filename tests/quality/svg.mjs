// Plots of one run over time, as SVG written by hand: rates, the picture's height, delays.

const WIDTH = 760;
const LEFT = 64;
const RIGHT = 150;
const PANEL = 150;
const GAP = 46;
const TOP = 34;

const COLOURS = { capacity: '#9a9a9a', line: '#1f5fa8', video: '#2f9e63', sound: '#c9691f', estimate: '#8a4fb5', wait: '#b3261e', buffer: '#5d7a1f', height: '#444' };

/** A round number at or above `value`. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value);
}

const escaped = (text) => text.replace(/[&<>"]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[sign]);

/** What grew between two samples, for each second: a rate. */
function growth(samples, read) {
  const points = [];
  for (let index = 1; index < samples.length; index += 1) {
    const [before, after] = [samples[index - 1], samples[index]];
    const value = (read(after) - read(before)) / (after.at - before.at);
    if (Number.isFinite(value) && value >= 0) points.push([after.at, value]);
  }
  return points;
}

function panel({ title, unit, top, end, lines, most }) {
  const drawn = lines.filter((line) => line.points.length > 1);
  const limit = most ?? ceiling(Math.max(1, ...drawn.filter((line) => !line.open).flatMap((line) => line.points.map(([, value]) => value))));
  const x = (at) => LEFT + (at / end) * (WIDTH - LEFT - RIGHT);
  const y = (value) => top + PANEL - (Math.min(value, limit) / limit) * PANEL;
  const parts = [`<text x="${LEFT}" y="${top - 10}" class="title">${escaped(title)}</text>`];
  for (let step = 0; step <= 4; step += 1) {
    const value = (limit * step) / 4;
    parts.push(`<path d="M${LEFT} ${y(value)}H${WIDTH - RIGHT}" class="grid"/>`);
    parts.push(`<text x="${LEFT - 8}" y="${y(value) + 4}" class="tick" text-anchor="end">${Number(value.toFixed(2))}</text>`);
  }
  const every = end > 45 ? 10 : 5;
  for (let at = 0; at <= end; at += every) parts.push(`<text x="${x(at)}" y="${top + PANEL + 16}" class="tick" text-anchor="middle">${at}</text>`);
  parts.push(`<text x="${WIDTH - RIGHT}" y="${top + PANEL + 30}" class="tick" text-anchor="end">s</text>`);
  parts.push(`<text x="${LEFT - 8}" y="${top - 10}" class="tick" text-anchor="end">${escaped(unit)}</text>`);
  for (const [index, line] of drawn.entries()) {
    const path = line.points.map(([at, value], point) => {
      const [px, py] = [x(at).toFixed(1), y(value).toFixed(1)];
      if (point === 0) return `M${px} ${py}`;
      return line.steps ? `H${px}V${py}` : `L${px} ${py}`;
    });
    const dash = line.open ? ' stroke-dasharray="5 4"' : '';
    parts.push(`<path d="${path.join('')}" fill="none" stroke="${line.colour}" stroke-width="1.6"${dash}/>`);
    const at = top + 12 + index * 18;
    parts.push(`<path d="M${WIDTH - RIGHT + 12} ${at - 4}h18" stroke="${line.colour}" stroke-width="2"${dash}/>`);
    parts.push(`<text x="${WIDTH - RIGHT + 36}" y="${at}" class="tick">${escaped(line.name)}</text>`);
  }
  return parts.join('\n');
}

/** The height of a picture that moves; one that stands still has none. */
function shownHeight(sample, index, samples) {
  const moves = index === 0 || sample.frames > samples[index - 1].frames;
  return [sample.at, moves ? sample.height : 0];
}

/** The first run of a row as SVG. */
export function plot({ what, runs }) {
  const { samples, waits = [] } = runs[0];
  const end = Math.max(1, samples.at(-1).at);
  const kilo = (points) => points.map(([at, value]) => [at, value / 1000]);
  const lined = samples.filter((sample) => sample.line);
  const onLine = lined.map((sample) => ({ at: sample.line.at, bits: sample.line.bits }));
  const capacity = lined.filter((sample) => sample.line.rate).map((sample) => [sample.line.at, sample.line.rate / 1000]);
  const estimate = samples.filter((sample) => sample.estimate > 0).map((sample) => [sample.at, sample.estimate / 1000]);
  // The longest wait of each half second.
  const peaks = new Map();
  for (const { at, ms } of waits) peaks.set(Math.floor(at * 2) / 2, Math.max(ms, peaks.get(Math.floor(at * 2) / 2) ?? 0));
  const buffer = [];
  for (let index = 1; index < samples.length; index += 1) {
    const emitted = samples[index].emitted - samples[index - 1].emitted;
    if (emitted > 0) buffer.push([samples[index].at, ((samples[index].buffer - samples[index - 1].buffer) / emitted) * 1000]);
  }
  const panels = [
    {
      title: 'Rate towards the viewer',
      unit: 'kbit/s',
      lines: [
        { name: 'the line allows', colour: COLOURS.capacity, points: capacity, open: true, steps: true },
        { name: 'estimate', colour: COLOURS.estimate, points: estimate, open: true },
        { name: 'on the line', colour: COLOURS.line, points: kilo(growth(onLine, (one) => one.bits)) },
        { name: 'picture', colour: COLOURS.video, points: kilo(growth(samples, (one) => one.videoBits)) },
        { name: 'sound', colour: COLOURS.sound, points: kilo(growth(samples, (one) => one.audioBits)) },
      ],
    },
    {
      title: 'Delay',
      unit: 'ms',
      lines: [
        { name: 'wait in the queue', colour: COLOURS.wait, points: [...peaks] },
        { name: 'picture buffer', colour: COLOURS.buffer, points: buffer },
      ],
    },
    {
      title: 'Picture',
      unit: 'lines',
      most: 600,
      lines: [{ name: 'height; 0 still', colour: COLOURS.height, points: samples.map(shownHeight), steps: true }],
    },
  ];
  const height = TOP + panels.length * (PANEL + GAP) + 20;
  const drawn = panels.map((one, index) => panel({ ...one, end, top: TOP + 30 + index * (PANEL + GAP) }));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `<title>${escaped(what)}</title>`,
    '<style>text{font-family:system-ui,sans-serif;fill:#222}.tick{font-size:11px}.title{font-size:13px;font-weight:600}.grid{stroke:#ddd;stroke-width:1}</style>',
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="${LEFT}" y="22" class="title">${escaped(what)}</text>`,
    ...drawn,
    '</svg>',
    '',
  ].join('\n');
}
