// Scales of values that trials were tried with: numbers, evenly or by magnitude, and words.

import { number } from "../format.js";

const MAX_TICKS = 5;

/** `byMagnitude`: whether the axis is logarithmic. Returns `{position(value): 0…1 or null, invert(share), ticks: [{value, text}], words}` for the values that there are. */
export function makeScale(values, byMagnitude = false) {
  const there = values.filter((value) => value !== null && value !== undefined);
  if (!there.length || there.some((value) => typeof value !== "number")) return makeWords([...new Set(there.map(String))].sort());
  const [low, high] = [Math.min(...there), Math.max(...there)];
  const log = byMagnitude && low > 0;
  return makeNumbers(low, high, log, [...new Set(there)].sort((a, b) => a - b));
}

function makeWords(words) {
  const position = (value) => {
    const place = words.indexOf(String(value));
    return place < 0 ? null : words.length === 1 ? 0.5 : place / (words.length - 1);
  };
  return { position, invert: (share) => share, ticks: words.map((value) => ({ value, text: value, share: position(value) })), words: true };
}

function makeNumbers(low, high, log, distinct) {
  const [from, to] = log ? [Math.log(low), Math.log(high)] : [low, high];
  const position = (value) => {
    if (typeof value !== "number" || !Number.isFinite(value)) return null;
    return to === from ? 0.5 : ((log ? Math.log(value) : value) - from) / (to - from);
  };
  const invert = (share) => {
    const value = from + share * (to - from);
    return log ? Math.exp(value) : value;
  };
  const values = distinct.length <= MAX_TICKS ? distinct : chooseTicks(low, high, log);
  return { position, invert, ticks: values.map((value) => ({ value, text: number(value), share: position(value) })), words: false };
}

function chooseTicks(low, high, log) {
  if (log) {
    const powers = [];
    for (let power = Math.ceil(Math.log10(low) - 1e-9); 10 ** power <= high * (1 + 1e-9); power++) powers.push(Number((10 ** power).toPrecision(12)));
    if (powers.length > 1) return powers;
  }
  const rough = (high - low) / (MAX_TICKS - 1);
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((candidate) => candidate >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step) ticks.push(Number(tick.toPrecision(12)));
  return ticks;
}
