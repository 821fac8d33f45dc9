// docs/quality.md: the table and its plots, written anew by every whole run.

const HEAD = `# Quality in real browsers

What people see and hear over a bad line, measured with headless Chromium (and Firefox where it says so) behind \`loadtest impair\`,
whose profiles are in [impairment.md](impairment.md). \`make quality\` runs all rows with fixed seeds and writes this page.

One publisher sends a voice (a steady tone) and a drawn picture of 1024x576 at 15 a second in three layers of at most 80, 250 and
700 kbit/s. Viewers sit behind the line named in the row; the publisher's line is clean unless the row says otherwise.
`;

const WORDS = `
- **Concealed sound** is \`concealedSamples\` of \`totalSamplesReceived\`: sound the browser made up because none was there in time.
- **Freezes** and **time frozen** are \`freezeCount\` and \`totalFreezesDuration\`; without a new picture is the longest time between two.
- **Wait in the queue** is what a datagram would have waited before the bottleneck, looked at ten times a second.
- **Lines** are the height of the picture shown: 144, 288 or 576.
- *Not measured* says that the publisher's machine drew less than four fifths of the pictures asked for, so a miss may be its own.
- A figure without a bound is reported only.
`;

const cell = (list) => list.join('<br>').replaceAll('|', '\\|') || 'none was reached';

export function page({ rows, machine, plots, verdict }) {
  const word = (row) => (row.runs.length > 1 ? `${verdict(row)} ${row.kept}/${row.runs.length}` : verdict(row));
  const lines = rows.map((row) => `| ${row.what} (\`${row.name}\`) | ${cell(row.target)} | ${cell(row.seen)} | ${word(row)} |`);
  const missed = rows.filter((row) => verdict(row) !== 'kept').length;
  const drawn = plots.map((one) => `\n## ${one.what[0].toUpperCase()}${one.what.slice(1)}\n\n![${one.what}](${one.path})\n`);
  return [
    HEAD,
    `Kept: ${rows.length - missed} of ${rows.length} rows. Measured on ${machine.cores} cores (${machine.processor}), shared by browsers, line and relay.`,
    '',
    '| what | target | seen | verdict |',
    '|---|---|---|---|',
    ...lines,
    WORDS,
    ...drawn,
  ].join('\n').replace(/\n{3,}/g, '\n\n');
}
