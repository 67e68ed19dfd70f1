// The input of a model, made from what its manifest says: a picture, a text, a form of named values, or JSON.

import { h } from "../dom.js";
import { FieldError, makeField } from "./fields.js";
import { Picture } from "./picture.js";

const TYPING_MS = 250;
const SEARCHABLE = 20; // fields from which there is a field to find one
const KEPT_CHARS = 200_000;

/** `changed(pauseMs)` is called after each change. `read()` gives a call `{type?, body, shown}`, null while there is nothing, or raises FieldError. */
export function makeInput(usage, changed) {
  const example = usage.example?.instances?.[0] ?? null;
  const named = isNamed(usage, example);
  const typed = () => changed(TYPING_MS);
  const parts = usage.inputs.map((input) => makePart(input, named ? example?.[input.name] : example, usage, changed, typed));
  return new Input(usage, parts, named);
}

/** Whether an instance is an object of named values. */
function isNamed(usage, example) {
  if (usage.inputs.length !== 1) return true;
  const [only] = usage.inputs;
  return Boolean(example && typeof example === "object" && !Array.isArray(example) && Object.hasOwn(example, only.name) && !Object.hasOwn(example, "b64"));
}

function makePart(input, example, usage, changed, typed) {
  const alone = usage.inputs.length === 1;
  if (input.kind !== "image") return makeField(input, example ?? (input.missing ? null : ""), typed, alone);
  const encoded = usage.example?.signature_name === "image_bytes" ? (example?.b64 ?? null) : null;
  const picture = new Picture({ limits: input.limits, example: encoded, title: input.title, changed });
  const element = alone ? picture.element : h("fieldset", { class: "field wide" }, h("legend", { class: "label" }, input.title), picture.element);
  return { name: input.name, title: input.title, picture, element, read: () => picture.read(), save: () => picture.save(), restore: (saved) => picture.restore(saved), setError: () => {} };
}

class Input {
  constructor(usage, parts, named) {
    Object.assign(this, { usage, parts, named });
    this.only = parts.length === 1 ? usage.inputs[0].kind : null;
    this.element = parts.length === 1 ? parts[0].element : this.#form();
  }

  /** Reads the first picture that was pasted; whether there was one to take it. */
  paste(file) {
    const target = this.parts.find((part) => part.picture);
    target?.picture.take(file);
    return Boolean(target);
  }

  async read() {
    const values = {};
    let [empty, wrong] = [false, null];
    for (const part of this.parts) {
      part.setError("");
      try {
        values[part.name] = await part.read();
        if (values[part.name] === undefined || (part.picture && !values[part.name])) empty = true;
      } catch (error) {
        if (!(error instanceof FieldError)) throw error;
        part.setError(error.message);
        wrong ??= new FieldError(`${part.title}: ${error.message}`);
      }
    }
    if (wrong) throw wrong;
    return empty ? null : this.#call(values);
  }

  /** Marks the field that an error of the gateway names. */
  mark(text) {
    const named = this.parts.filter((part) => part.title.length > 1 && text.includes(part.title));
    if (named.length === 1 && this.parts.length > 1) named[0].setError(text);
  }

  async #call(values) {
    if (this.only === "image" && !this.named) return { type: values[this.parts[0].name].type, body: values[this.parts[0].name], raw: "picture" };
    if (this.only === "text" && !this.named) return { type: "text/plain; charset=utf-8", body: values[this.parts[0].name], raw: "text" };
    const body = await this.#encode(values);
    return { body, raw: null, instance: true };
  }

  async #encode(values) {
    const found = {};
    let files = false;
    for (const [name, value] of Object.entries(values)) {
      found[name] = value instanceof Blob ? { b64: await toBase64(value) } : value;
      files ||= value instanceof Blob;
    }
    const instance = this.named ? found : found[this.parts[0].name];
    return { ...(files ? { signature_name: "image_bytes" } : {}), instances: [instance] };
  }

  save() {
    const saved = JSON.stringify(Object.fromEntries(this.parts.map((part) => [part.name, part.save()])));
    return saved.length <= KEPT_CHARS ? saved : null;
  }

  restore(saved) {
    const values = JSON.parse(saved);
    for (const part of this.parts) if (values[part.name] !== undefined && values[part.name] !== null) part.restore(values[part.name]);
  }

  #form() {
    const fields = h("div", { class: "fields two row-form" }, this.parts.map((part) => part.element));
    if (this.parts.length <= SEARCHABLE) return fields;
    const finder = h("input", { type: "search", id: "find-field", placeholder: `one of ${this.parts.length} inputs`, autocomplete: "off" });
    finder.addEventListener("input", () => {
      const wanted = finder.value.trim().toLowerCase();
      for (const part of this.parts) part.element.hidden = wanted !== "" && !part.title.toLowerCase().includes(wanted);
    });
    fields.classList.add("many");
    fields.setAttribute("tabindex", "0");
    fields.setAttribute("role", "group");
    fields.setAttribute("aria-label", `${this.parts.length} inputs`);
    return h("div", { class: "stack" }, h("div", { class: "field" }, h("label", { for: "find-field" }, "Find an input"), finder), fields);
  }
}

/** The body of `:predict` as JSON, to be written by hand. */
export class JsonInput {
  constructor(body, changed) {
    this.control = h("textarea", { id: "json-body", rows: 14, spellcheck: "false", class: "mono", "aria-describedby": "json-error" });
    this.control.value = JSON.stringify(body, null, 1);
    this.error = h("small", { id: "json-error", class: "field-error", role: "alert" });
    this.element = h("div", { class: "field alone" }, h("label", { for: "json-body" }, "Body of the request, as JSON"), this.control, this.error);
    this.control.addEventListener("input", () => changed(TYPING_MS));
  }

  async read() {
    this.error.textContent = "";
    try {
      return { body: JSON.parse(this.control.value), raw: null };
    } catch (error) {
      this.error.textContent = `expected JSON: ${error.message}`;
      throw new FieldError(this.error.textContent);
    }
  }

  paste = () => false;
  mark = () => {};
  save = () => (this.control.value.length <= KEPT_CHARS ? JSON.stringify(this.control.value) : null);
  restore = (saved) => (this.control.value = JSON.parse(saved));
}

export function toBase64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
