// Numbers as people read them.

/** Four significant digits, without an exponent where that can be read. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  return size >= 1e-4 && size < 1e6 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

export const percent = (share, digits = 1) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)} %`);

export const milliseconds = (seconds) => (seconds === null || seconds === undefined ? "–" : `${number(1000 * seconds)} ms`);
