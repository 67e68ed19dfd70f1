// A heat map over a picture: full pixels for the answer, hatched ones against it, the stronger the more opaque.

const SIDE = 280;
const FADED = 0.35; // how much of the picture is left to see
const FAINT = 0.06; // of the largest weight; less is not drawn
const ROWS = ["upper", "middle", "lower"];
const COLUMNS = ["left", "centre", "right"];

/** Draws weights `[height][width]` over a PNG in base64, if there is one. */
export async function drawMap(canvas, { weights, height, width, image }) {
  const scale = Math.max(1, Math.floor(SIDE / Math.max(height, width)));
  [canvas.width, canvas.height] = [width * scale, height * scale];
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  const styles = getComputedStyle(document.documentElement);
  if (image) {
    const binary = atob(image);
    const bitmap = await createImageBitmap(new Blob([Uint8Array.from(binary, (char) => char.charCodeAt(0))], { type: "image/png" }));
    context.fillStyle = "#808080";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalAlpha = FADED;
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    context.globalAlpha = 1;
  }
  const colours = { for: styles.getPropertyValue("--map-for").trim(), against: styles.getPropertyValue("--map-against").trim() };
  const most = largest(weights);
  if (!most) return;
  weights.forEach((row, y) => row.forEach((weight, x) => drawPixel(context, x * scale, y * scale, scale, weight / most, colours)));
  context.globalAlpha = 1;
}

function drawPixel(context, x, y, scale, share, colours) {
  const strength = Math.abs(share);
  if (strength < FAINT) return;
  context.globalAlpha = Math.min(1, 0.15 + 0.85 * Math.sqrt(strength));
  if (share > 0 || scale < 3) {
    context.fillStyle = share > 0 ? colours.for : colours.against;
    context.fillRect(x, y, scale, scale);
    return;
  }
  context.strokeStyle = colours.against;
  context.lineWidth = Math.max(1, scale / 4);
  context.beginPath();
  context.moveTo(x, y + scale);
  context.lineTo(x + scale, y);
  context.stroke();
}

/** In words: in which ninth of the picture most speaks for the answer, and in which against it. */
export function describeMap(weights, subject) {
  const ninths = Array.from({ length: 9 }, () => ({ for: 0, against: 0 }));
  weights.forEach((row, y) =>
    row.forEach((weight, x) => {
      const place = Math.floor((y * 3) / weights.length) * 3 + Math.floor((x * 3) / row.length);
      ninths[place][weight > 0 ? "for" : "against"] += Math.abs(weight);
    }),
  );
  const found = ["for", "against"].map((side) => {
    const best = ninths.reduce((most, one, place) => (one[side] > ninths[most][side] ? place : most), 0);
    return ninths[best][side] ? `Most that speaks ${side} ${subject} is ${ROWS[Math.floor(best / 3)]} ${COLUMNS[best % 3]}.` : "";
  });
  return found.filter(Boolean).join(" ") || "No pixel weighs anything.";
}

const largest = (weights) => weights.reduce((most, row) => row.reduce((best, weight) => Math.max(best, Math.abs(weight)), most), 0);
