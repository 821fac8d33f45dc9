// What a row of the table is held to: figures with their bounds.

const UNITS = {
  percent: (value) => `${round(value * 100, 1)} %`,
  s: (value) => `${round(value, 1)} s`,
  ms: (value) => `${Math.round(value)} ms`,
  count: (value) => `${round(value, 1)}`,
  px: (value) => `${value} lines`,
  kbit: (value) => `${Math.round(value / 1000)} kbit/s`,
  hz: (value) => `${round(value, 1)} a second`,
};

function round(value, digits) {
  return Number(value.toFixed(digits));
}

export function shown(unit, value) {
  return Number.isFinite(value) ? UNITS[unit](value) : 'nothing measured';
}

/** At most `bound`. */
export const most = (name, seen, bound, unit) => ({ name, seen, bound, unit, rule: 'most', held: seen <= bound });
/** At least `bound`. */
export const least = (name, seen, bound, unit) => ({ name, seen, bound, unit, rule: 'least', held: seen >= bound });
/** Told, and held to nothing. */
export const told = (name, seen, unit) => ({ name, seen, unit, rule: 'told', held: true });

/** The bound of a check in words; undefined where there is none. */
export function target({ name, bound, unit, rule }) {
  if (rule === 'told') return undefined;
  if (rule === 'most' && bound === 0) return `no ${name}`;
  return `${name} ${rule === 'most' ? '≤' : '≥'} ${shown(unit, bound)}`;
}

/** The same check of several runs as one: the middle value, and the worst where there were more. */
export function seenOf(checks) {
  const [{ name, unit, rule }] = checks;
  const values = checks.map((check) => check.seen).sort((a, b) => a - b);
  const middle = shown(unit, values[(values.length - 1) >> 1]);
  if (values.length === 1) return `${name} ${middle}`;
  const worst = rule === 'least' ? values[0] : values.at(-1);
  return `${name} ${middle} (worst ${shown(unit, worst)})`;
}

/** Several runs of a row as one result. */
export function summary(row, runs) {
  const whole = runs.filter((run) => run.checks.length > 0);
  const names = whole[0]?.checks.map((check) => check.name) ?? [];
  const together = names.map((name) => whole.map((run) => run.checks.find((check) => check.name === name)));
  return {
    name: row.name,
    what: row.what,
    target: together.map((checks) => target(checks[0])).filter(Boolean),
    seen: [...together.map(seenOf), ...runs.filter((run) => run.trouble).map((run) => run.trouble)],
    kept: runs.filter((run) => run.held).length,
    slow: runs.filter((run) => run.slow).length,
    runs,
  };
}

/** `kept`, `missed`, or `not measured` where the machine was too slow to say. */
export function verdict({ kept, slow, runs }) {
  if (kept === runs.length) return 'kept';
  return slow > 0 && kept + slow >= runs.length ? 'not measured' : 'missed';
}
