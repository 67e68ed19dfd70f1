// Prometheus' text format: samples by name, rates of counters, quantiles of histograms.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const UNESCAPED = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

/** `{name: [{labels, value}]}`. */
export function parse(text) {
  const found = {};
  for (const line of text.split("\n")) {
    if (!line || line.startsWith("#")) continue;
    const [, name, labels = "", value] = LINE.exec(line) ?? [];
    if (name) (found[name] ??= []).push({ labels: parseLabels(labels), value: parseValue(value) });
  }
  return found;
}

function parseLabels(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(LABEL)) labels[name] = value.replace(/\\[n"\\]/g, (pair) => UNESCAPED[pair]);
  return labels;
}

const parseValue = (text) => (text.endsWith("Inf") ? (text.startsWith("-") ? -Infinity : Infinity) : Number(text));

const keyOf = (labels) => JSON.stringify(Object.entries(labels).sort());

/** How much each series of a counter grew, `[{labels, value}]`; one that fell has begun again at zero. */
export function growth(before, now, name) {
  const earlier = new Map((before[name] ?? []).map((one) => [keyOf(one.labels), one.value]));
  return (now[name] ?? []).map(({ labels, value }) => {
    const then = earlier.get(keyOf(labels)) ?? 0;
    return { labels, value: value >= then ? value - then : value };
  });
}

/** Sum of values whose labels pass. */
export function sum(series, passes = () => true) {
  return series.reduce((total, { labels, value }) => (passes(labels) ? total + value : total), 0);
}

/** Sums by the value of a label, in order of it. */
export function sumBy(series, label) {
  const sums = new Map();
  for (const { labels, value } of series) sums.set(labels[label], (sums.get(labels[label]) ?? 0) + value);
  return new Map([...sums].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * A quantile of what a histogram's buckets grew by: `buckets` are series with the label `le`, those of all label values
 * that pass are added. Within a bucket, values are taken to be spread evenly; null where there are none. What is above
 * the last bound is said to be that bound, as Prometheus does.
 */
export function quantile(share, buckets, passes = () => true) {
  const bounds = cumulated(buckets, passes);
  const total = bounds.at(-1)?.count ?? 0;
  if (!total) return null;
  const wanted = share * total;
  const index = bounds.findIndex(({ count }) => count >= wanted);
  const [low, below] = index ? [bounds[index - 1].le, bounds[index - 1].count] : [0, 0];
  const { le, count } = bounds[index];
  if (le === Infinity) return low;
  return low + ((le - low) * (wanted - below)) / (count - below);
}

function cumulated(buckets, passes) {
  const counts = new Map();
  for (const { labels, value } of buckets) {
    if (!passes(labels)) continue;
    const le = parseValue(labels.le);
    counts.set(le, (counts.get(le) ?? 0) + value);
  }
  return [...counts].map(([le, count]) => ({ le, count })).sort((a, b) => a.le - b.le);
}
