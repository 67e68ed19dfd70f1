// Pixels of a drawing: where ink is, and how it becomes a small picture.

const INK = 40; // brightness from which a pixel counts as drawn

/** Not beyond the edges, where there is a margin for it. */
export const inside = (place, room) => Math.min(Math.max(place, Math.min(1, room / 2)), Math.max(room - 1, room / 2));

export function surface(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width));
  canvas.height = Math.max(1, Math.round(height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  return context;
}

/** A part of a canvas, made smaller by halves: browsers look at four pixels only where they make one of many. */
export function halved(source, left, top, width, height, toWidth, toHeight) {
  let context = surface(width, height);
  context.drawImage(source, left, top, width, height, 0, 0, context.canvas.width, context.canvas.height);
  while (context.canvas.width >= 2 * toWidth && context.canvas.height >= 2 * toHeight) {
    const next = surface(context.canvas.width / 2, context.canvas.height / 2);
    next.drawImage(context.canvas, 0, 0, next.canvas.width, next.canvas.height);
    context = next;
  }
  return context.canvas;
}

/** Where ink is, and its centre of mass. */
export function inked(context, canvas, dark) {
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let [left, top, right, bottom, mass, x, y] = [canvas.width, canvas.height, -1, -1, 0, 0, 0];
  for (let row = 0; row < canvas.height; row++) {
    for (let column = 0; column < canvas.width; column++) {
      const value = data[4 * (row * canvas.width + column)];
      const ink = dark ? value : 255 - value;
      if (ink < INK) continue;
      left = Math.min(left, column);
      right = Math.max(right, column);
      top = Math.min(top, row);
      bottom = Math.max(bottom, row);
      mass += ink;
      x += ink * column;
      y += ink * row;
    }
  }
  return mass ? { left, top, width: right - left + 1, height: bottom - top + 1, massX: x / mass, massY: y / mass } : null;
}

export function borderBrightness({ data, width, height }) {
  let [sum, count] = [0, 0];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column += row === 0 || row === height - 1 ? 1 : Math.max(1, width - 1)) {
      sum += data[4 * (row * width + column)];
      count += 1;
    }
  }
  return sum / count;
}
