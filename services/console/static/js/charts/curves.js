// The curves of jobs as columns and lines for charts. No elements in here.

export const LEARNING_RATE = "learning rate";

/** All metrics of some curves: the loss first, the learning rate last. */
export function listMetrics(all) {
  const names = new Set(all.flatMap((curves) => Object.keys(curves.metrics)));
  const rates = all.some((curves) => curves.learning_rate.some((value) => value !== null));
  return [...[...names].sort((a, b) => (b === "loss") - (a === "loss") || a.localeCompare(b)), ...(rates ? [LEARNING_RATE] : [])];
}

/** Lines of one metric: `{x, y, …how it is drawn}`; `x` is epochs or seconds. */
export function listLines(jobs, metric, { by = "epoch", within = true } = {}) {
  return jobs.flatMap(({ curves, label, token, id }) => {
    const x = by === "time" ? curves.seconds : curves.epochs;
    const named = (text) => (jobs.length > 1 ? `${label} · ${text}` : text);
    if (metric === LEARNING_RATE) return [{ x, y: curves.learning_rate, label: jobs.length > 1 ? label : metric, key: "rate", group: id, token }];
    const found = curves.metrics[metric];
    const lines = [];
    const steps = curves.within.metrics[metric];
    if (within && steps?.length) lines.push({ x: by === "time" ? curves.within.seconds : curves.within.epochs, y: steps, label: named("training, in the epoch"), key: "steps", group: id, token, faint: true, width: 1, points: false });
    if (found?.training.some(known)) lines.push({ x, y: found.training, label: named("training"), key: "training", group: id, token, dashed: true, width: 1.5 });
    if (found?.validation.some(known)) lines.push({ x, y: found.validation, label: named("validation"), key: "validation", group: id, token });
    return lines;
  });
}

/** Lines of jobs that differ in their seed only: the mean, and the band from the least to the greatest. */
export function listBands(group, metric, { label, token }) {
  return ["training", "validation"].flatMap((split) => {
    const band = group.metrics[metric]?.[split];
    if (!band?.mean.some(known)) return [];
    const common = { x: group.epochs, group: group.jobs[0], token, key: split };
    return [
      { ...common, y: band.low, label: `${label} · ${split}, least`, width: 0, silent: true, points: false },
      { ...common, y: band.high, label: `${label} · ${split}, greatest`, width: 0, silent: true, points: false, bandTo: -1 },
      { ...common, y: band.mean, label: `${label} · ${split}, mean of ${group.jobs.length}`, dashed: split === "training" },
    ];
  });
}

const known = (value) => value !== null && value !== undefined;

/** uPlot's columns of lines with x of their own, smoothed, and without what a log scale cannot show. */
export function makeColumns(lines, { smoothing = 0, log = false } = {}) {
  const places = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const index = new Map(places.map((value, place) => [value, place]));
  return [places, ...lines.map((line) => {
    const column = new Array(places.length).fill(null);
    const values = line.silent ? line.y : smooth(line.y, smoothing);
    line.x.forEach((x, place) => {
      const value = values[place] ?? null;
      column[index.get(x)] = log && value !== null && value <= 0 ? null : value;
    });
    return column;
  })];
}

/** uPlot's series of lines. */
export function makeSeries(lines) {
  return lines.map(({ x, y, bandTo, ...line }, place) => ({ ...line, sparse: true, ...(bandTo ? { band: [place, place + bandTo] } : {}) }));
}

/** Exponential moving average, corrected for its beginning (as TensorBoard does). */
export function smooth(values, weight) {
  if (!weight) return values;
  let [mean, count] = [0, 0];
  return values.map((value) => {
    if (!known(value)) return null;
    mean = mean * weight + (1 - weight) * value;
    return mean / (1 - weight ** ++count);
  });
}

/** Adds an event of a job's stream to its curves; whether they changed. `progress` ends epochs, `point` is within one. */
export function addEvent(curves, body, at) {
  if (body.stage !== "train" || !body.epoch) return false;
  curves.planned = body.epochs ?? curves.planned;
  const ended = body.step === body.steps;
  const position = body.epoch - 1 + (body.step && body.steps ? body.step / body.steps : 1);
  cut(curves.epochs, [curves.seconds, curves.learning_rate, ...Object.values(curves.metrics).flatMap((each) => [each.training, each.validation])], position);
  cut(curves.within.epochs, [curves.within.seconds, ...Object.values(curves.within.metrics)], position);
  if (ended) addEpoch(curves, body, at);
  else addStep(curves, body, position, at);
  findBest(curves);
  return true;
}

/** Drops what an attempt trains once more. */
function cut(places, columns, position) {
  let length = places.length;
  while (length && places[length - 1] >= position) length--;
  for (const column of [places, ...columns]) column.length = Math.min(column.length, length);
}

function addEpoch(curves, body, at) {
  const before = curves.epochs.length;
  curves.epochs.push(body.epoch);
  curves.seconds.push(at);
  curves.learning_rate.push(body.learning_rate ?? null);
  for (const name of Object.keys(body.metrics)) curves.metrics[name.replace(/^val_/, "")] ??= { training: new Array(before).fill(null), validation: new Array(before).fill(null) };
  for (const [name, each] of Object.entries(curves.metrics)) {
    each.training.push(body.metrics[name] ?? null);
    each.validation.push(body.metrics[`val_${name}`] ?? null);
  }
}

function addStep(curves, body, position, at) {
  const { within } = curves;
  const before = within.epochs.length;
  within.epochs.push(position);
  within.seconds.push(at);
  for (const name of Object.keys(body.metrics)) within.metrics[name] ??= new Array(before).fill(null);
  for (const [name, values] of Object.entries(within.metrics)) values.push(body.metrics[name] ?? null);
}

function findBest(curves) {
  curves.best = null;
  curves.metrics.loss?.validation.forEach((value, place) => {
    if (value !== null && (!curves.best || value < curves.best.value)) curves.best = { epoch: curves.epochs[place], value };
  });
  if (curves.best) curves.best.since = curves.epochs.at(-1) - curves.best.epoch;
}
