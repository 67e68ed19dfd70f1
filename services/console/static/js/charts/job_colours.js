// The colour of a job: the same wherever it is shown, in this browser. It follows the job, not its place in a list.

const KEY = "modelyard-job-colours";
const COLOURS = 8;
const KEPT = 500;

function read() {
  try {
    return new Map(JSON.parse(localStorage.getItem(KEY) ?? "[]"));
  } catch {
    return new Map();
  }
}

function hash(text) {
  let value = 7;
  for (const letter of text) value = (value * 31 + letter.codePointAt(0)) >>> 0;
  return value % COLOURS;
}

/** Tokens of jobs that are shown together, by id: different ones as long as there are enough. */
export function jobColours(ids) {
  const known = read();
  const taken = new Set();
  const free = (wanted) => {
    for (let step = 0; step < COLOURS; step++) if (!taken.has((wanted + step) % COLOURS)) return (wanted + step) % COLOURS;
    return wanted;
  };
  const old = ids.filter((id) => known.has(id));
  for (const id of [...old, ...ids.filter((id) => !known.has(id)).sort()]) {
    const order = free(known.get(id) ?? hash(id));
    known.delete(id);
    known.set(id, order); // the newest at the end
    taken.add(order);
  }
  localStorage.setItem(KEY, JSON.stringify([...known].slice(-KEPT)));
  return new Map(ids.map((id) => [id, `--run-${known.get(id) + 1}`]));
}
