// What an answer says, whatever form it came in: classes with scores, several labels, numbers, texts.

const MATRIX = 1;
const COVERAGES = ["95", "99"];

/** `{kind: "classes" | "labels" | "numbers" | "text" | "other", …}` of a response of `:predict` to one instance. */
export function readAnswer(json, { task, labels }) {
  if (json.scores && json.label !== undefined) return classes(Object.entries(json.scores), json.label);
  if (json.scores && json.labels) return { kind: "labels", scores: sorted(Object.entries(json.scores)) };
  if (json.values) return { kind: "numbers", values: Object.entries(json.values) };
  if (typeof json.text === "string") return { kind: "text", text: json.text };
  if (json.outputs && !Array.isArray(json.outputs)) return readRow(json.outputs, task, labels);
  return readRow(json.predictions ? json.predictions[0] : json, task, labels);
}

/** What an answer says of itself: `{typical, atypicality, sets, intervals}`; sets and intervals by coverage in percent. */
export function readUncertainty(json, { labels }) {
  const row = json.predictions ? json.predictions[0] : json;
  if (!row || typeof row !== "object" || Array.isArray(row)) return {};
  const { typical, atypicality, prediction_set: set, intervals, outputs = row } = row;
  const sets = Array.isArray(set) ? Object.fromEntries(COVERAGES.map((percent) => [percent, labels.filter((_, index) => set[index] <= percent)])) : set;
  return { typical, atypicality, sets, intervals: intervals ?? readIntervals(outputs, labels) };
}

function readIntervals(outputs, labels) {
  const found = COVERAGES.filter((percent) => Array.isArray(outputs[`interval_${percent}`]));
  if (!found.length) return undefined;
  return Object.fromEntries(found.map((percent) => [percent, Object.fromEntries(named(outputs[`interval_${percent}`], labels))]));
}

function readRow(row, task, labels) {
  if (row && typeof row === "object" && !Array.isArray(row)) {
    const names = Object.keys(row);
    if (Array.isArray(row.probabilities) && row.class_id !== undefined) return readScores(row.probabilities, row.class_id, labels);
    if (Array.isArray(row.value)) return readNumbers(row.value, task, labels);
    if (Array.isArray(row.probabilities)) return readNumbers(row.probabilities, task, labels);
    if (names.length === 1) return readRow(row[names[0]], task, labels);
    return { kind: "other", value: row };
  }
  if (typeof row === "string") return { kind: "text", text: row };
  if (typeof row === "number") return { kind: "numbers", values: [[labels.length === 1 ? labels[0] : "", row]] };
  if (Array.isArray(row) && row.every((value) => typeof value === "number")) return readNumbers(row, task, labels);
  return { kind: "other", value: row };
}

function readNumbers(row, task, labels) {
  if (task === "multilabel" && row.length === labels.length) return { kind: "labels", scores: sorted(named(row, labels)) };
  if (task === "binary" && row.length === MATRIX && labels.length === 2) return readScores([1 - row[0], row[0]], null, labels);
  if ((task === "binary" || task === "multiclass") && row.length === labels.length) return readScores(row, null, labels);
  if (row.length === 1) return { kind: "numbers", values: [[labels[0] ?? "", row[0]]] };
  return { kind: "numbers", values: named(row, labels) };
}

function readScores(scores, classId, labels) {
  const best = classId ?? scores.indexOf(Math.max(...scores));
  return classes(named(scores, labels), labels[best] ?? String(best));
}

const named = (row, labels) => row.map((value, index) => [labels[index] ?? String(index), value]);
const sorted = (pairs) => [...pairs].sort((a, b) => b[1] - a[1]);
const classes = (scores, label) => ({ kind: "classes", scores, label, score: scores.find(([name]) => name === label)?.[1] ?? null });
