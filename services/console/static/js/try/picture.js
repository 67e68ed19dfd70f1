// A picture as input: drawn by pen, mouse or finger, dropped, pasted or chosen. What the model gets is shown beside it.

import { h } from "../dom.js";
import { borderBrightness, halved, inked, inside, surface } from "./pixels.js";

const SIDE = 280;
const SMALL = 64; // models of so small pictures are drawn for
const PEN = 1 / 13; // of the side
const FIT = 20 / 28; // as in MNIST: 20 pixels of 28, then centred by mass
const PAUSE_MS = 40; // between two answers while the pen moves
const TYPES = ["image/png", "image/jpeg"];
const MAX_BYTES = 2 * 1024 * 1024; // the gateway's own limit unless set otherwise; a larger file is made smaller here
const MAX_SIDE = 1024;

export class Picture {
  /** `limits`: height, width, channels. `example`: PNG in base64, or null. `changed(pause)` is called after each change. */
  constructor({ limits, example, title, changed }) {
    Object.assign(this, { limits, example, changed });
    this.drawn = limits.channels === 1 && Math.max(limits.height, limits.width) <= SMALL;
    this.dark = true;
    this.file = null;
    this.strokes = [];
    this.#build(title);
    this.#listen();
    this.ready = this.#adapt();
  }

  /** The picture as PNG or JPEG, or null while there is none. */
  async read() {
    if (this.file) return this.file;
    if (!this.strokes.length) return null;
    const made = this.drawn ? this.#shrink() : this.canvas;
    this.#showSent(made);
    return new Promise((resolve) => made.toBlob(resolve, "image/png"));
  }

  /** A value to be kept over a reload. */
  save() {
    return this.strokes.length && !this.file ? { strokes: this.strokes } : null;
  }

  restore(saved) {
    if (!saved?.strokes?.length) return;
    this.strokes = saved.strokes;
    this.#redraw();
    this.changed(0);
  }

  clear() {
    this.file = null;
    this.strokes = [];
    this.alert.textContent = "";
    this.fileNote.textContent = "";
    this.#redraw();
    this.sent.hidden = true;
    this.changed(0);
  }

  /** Takes a file that was dropped, pasted or chosen. */
  async take(file) {
    this.alert.textContent = "";
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      this.alert.textContent = `${file.name || "What was pasted"} is no picture that can be read (${file.type || "no known type"}, ${bytes(file.size)}). Take a PNG or JPEG.`;
      return;
    }
    this.strokes = [];
    this.file = await fit(file, bitmap);
    this.#redraw();
    const scale = Math.min(this.canvas.width / bitmap.width, this.canvas.height / bitmap.height);
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    this.context.drawImage(bitmap, (this.canvas.width - width) / 2, (this.canvas.height - height) / 2, width, height);
    const smaller = this.file === file ? "" : `, sent as a JPEG of ${bytes(this.file.size)}`;
    this.fileNote.textContent = `${file.name || "pasted picture"}, ${bitmap.width} × ${bitmap.height}, ${bytes(file.size)}${smaller}`;
    this.hint.hidden = true;
    this.#showSent(bitmap);
    this.changed(0);
  }

  #build(title) {
    const { height, width, channels } = this.limits;
    const ratio = Math.min(1.5, Math.max(0.5, height / width));
    this.canvas = h("canvas", { width: SIDE, height: Math.round(SIDE * ratio), class: "pad", tabindex: "0", role: "img", "aria-label": `${title}: draw here with pen, mouse or finger; or drop or paste a picture, or press Enter to choose one` });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.hint = h("p", { class: "pad-hint", "aria-hidden": "true" }, this.drawn ? "Draw here, or drop or paste a picture" : "Drop or paste a picture here");
    this.input = h("input", { type: "file", accept: TYPES.join(","), class: "visually-hidden", id: `file-${title}`, "aria-label": `Choose a picture for ${title}` });
    this.alert = h("p", { role: "alert" });
    this.fileNote = h("p", { class: "muted file-note" });
    this.centre = h("input", { type: "checkbox", checked: this.drawn });
    this.undo = h("button", { type: "button", title: "Ctrl+Z" }, "Undo");
    this.clearer = h("button", { type: "button" }, "Clear");
    this.chooser = h("button", { type: "button" }, "Choose a file");
    this.useExample = this.example ? h("button", { type: "button" }, "Example") : null;
    this.small = h("canvas", { width, height, class: "sent-picture", "aria-hidden": "true" });
    this.caption = h("p", { class: "muted" });
    this.sent = h("figure", { class: "sent", hidden: true }, this.small, h("figcaption", {}, h("strong", {}, "What the model gets"), this.caption));
    this.options = this.drawn ? h("label", { class: "check" }, this.centre, "Centre and scale what is drawn, as in the training pictures") : null;
    this.element = h(
      "div",
      { class: "picture" },
      h("div", { class: "pad-frame" }, this.canvas, this.hint),
      h("div", { class: "picture-side" }, h("div", { class: "row" }, this.chooser, this.input, this.useExample), h("div", { class: "row" }, this.undo, this.clearer), this.fileNote, this.options, this.sent),
      this.alert,
    );
    this.colours = channels === 1 ? "grey" : "colour";
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.#start(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.#end(event));
    this.element.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.element.classList.add("over");
    });
    this.element.addEventListener("dragleave", () => this.element.classList.remove("over"));
    this.element.addEventListener("drop", (event) => {
      event.preventDefault();
      this.element.classList.remove("over");
      if (event.dataTransfer.files[0]) this.take(event.dataTransfer.files[0]);
      else this.alert.textContent = "That is no file. Drop a picture file.";
    });
    this.input.addEventListener("change", () => {
      if (this.input.files[0]) this.take(this.input.files[0]);
      this.input.value = "";
    });
    this.chooser.addEventListener("click", () => this.input.click());
    this.undo.addEventListener("click", () => this.#undo());
    this.clearer.addEventListener("click", () => this.clear());
    this.useExample?.addEventListener("click", () => this.take(this.#exampleFile()));
    this.centre.addEventListener("change", () => this.changed(0));
    canvas.addEventListener("keydown", (event) => event.key === "Enter" && this.input.click());
    this.element.addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key !== "z") return;
      event.preventDefault();
      this.#undo();
    });
  }

  #exampleFile() {
    const binary = atob(this.example);
    return new File([Uint8Array.from(binary, (char) => char.charCodeAt(0))], "example.png", { type: "image/png" });
  }

  /** White on black or black on white, as the example's border is. */
  async #adapt() {
    if (this.example) {
      const bitmap = await createImageBitmap(this.#exampleFile());
      const probe = surface(bitmap.width, bitmap.height);
      probe.drawImage(bitmap, 0, 0);
      this.dark = borderBrightness(probe.getImageData(0, 0, bitmap.width, bitmap.height)) < 128;
    }
    this.#redraw();
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.canvas.width, ((event.clientY - box.top) / box.height) * this.canvas.height];
  }

  #start(event) {
    if (event.button || (this.pen ?? null) !== null) return; // a second finger draws nothing
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    if (this.file) {
      this.file = null;
      this.fileNote.textContent = "";
    }
    this.alert.textContent = "";
    this.strokes.push([this.#place(event)]);
    this.pen = event.pointerId;
    this.#redraw();
    this.changed(PAUSE_MS);
  }

  #move(event) {
    if (event.pointerId !== this.pen) return;
    const stroke = this.strokes.at(-1);
    const before = stroke.at(-1);
    const moved = event.getCoalescedEvents?.() ?? [];
    const points = (moved.length ? moved : [event]).map((one) => this.#place(one));
    stroke.push(...points);
    this.#line([before, ...points]);
    this.changed(PAUSE_MS);
  }

  #end(event) {
    if (event.pointerId !== this.pen) return;
    this.pen = null;
    this.changed(0);
  }

  #undo() {
    this.strokes.pop();
    this.#redraw();
    if (!this.strokes.length) this.sent.hidden = true;
    this.changed(0);
  }

  #redraw() {
    const { context, canvas } = this;
    context.fillStyle = this.dark ? "#000" : "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    this.hint.hidden = this.strokes.length > 0;
    if (this.options) this.options.hidden = this.file !== null;
    this.hint.classList.toggle("on-dark", this.dark);
    this.undo.disabled = !this.strokes.length;
    this.clearer.disabled = !this.strokes.length && !this.file;
    for (const stroke of this.strokes) this.#line(stroke);
  }

  #line(points) {
    const { context } = this;
    context.strokeStyle = this.dark ? "#fff" : "#000";
    context.lineWidth = SIDE * PEN;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...points[0]);
    for (const point of points.length > 1 ? points.slice(1) : points) context.lineTo(...point);
    context.stroke();
  }

  /** The drawing in the model's own size. */
  #shrink() {
    const { width, height } = this.limits;
    const target = surface(width, height);
    target.fillStyle = this.dark ? "#000" : "#fff";
    target.fillRect(0, 0, width, height);
    const box = this.centre.checked ? inked(this.context, this.canvas, this.dark) : null;
    if (!box) {
      target.drawImage(halved(this.canvas, 0, 0, this.canvas.width, this.canvas.height, width, height), 0, 0, width, height);
      return target.canvas;
    }
    const scale = Math.min((width * FIT) / box.width, (height * FIT) / box.height);
    const [w, ht] = [Math.max(1, box.width * scale), Math.max(1, box.height * scale)];
    const left = inside(width / 2 - (box.massX - box.left) * scale, width - w);
    const top = inside(height / 2 - (box.massY - box.top) * scale, height - ht);
    target.drawImage(halved(this.canvas, box.left, box.top, box.width, box.height, w, ht), left, top, w, ht);
    return target.canvas;
  }

  #showSent(made) {
    const { width, height } = this.limits;
    const context = this.small.getContext("2d");
    context.drawImage(made, 0, 0, width, height);
    this.sent.hidden = false;
    const how = this.file ? "scaled by the model itself" : `${this.dark ? "white on black" : "black on white"}${this.drawn && this.centre.checked ? ", centred" : ""}`;
    const text = `${width} × ${height} pixels, ${this.colours}, ${how}.`;
    if (this.caption.textContent !== text) this.caption.textContent = text;
  }
}

/** The file itself if the gateway takes it, else the same picture as a JPEG that it takes. */
async function fit(file, bitmap) {
  if (TYPES.includes(file.type) && file.size <= MAX_BYTES && bitmap.width * bitmap.height <= 4_000_000) return file;
  const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const context = surface(bitmap.width * scale, bitmap.height * scale);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  context.drawImage(bitmap, 0, 0, context.canvas.width, context.canvas.height);
  return new Promise((resolve) => context.canvas.toBlob(resolve, "image/jpeg", 0.9));
}

export function bytes(size) {
  if (size < 1024) return `${size} B`;
  return size < 1024 * 1024 ? `${(size / 1024).toFixed(1)} KiB` : `${(size / 1024 / 1024).toFixed(1)} MiB`;
}
