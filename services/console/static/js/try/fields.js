// Fields of a form for inputs that are no pictures: texts, numbers, categories, dates, and JSON for vectors and sequences.

import { h } from "../dom.js";

const OTHER = "\u0000other";
const MISSING = "\u0000missing";
const DATE = /^\d{4}-\d{2}-\d{2}(T.*)?$/;

export class FieldError extends Error {}

/** A field of an input: `{element, control, read(), save(), restore(value), name}`. `read` raises FieldError. */
export function makeField(input, example, changed, alone = false) {
  return (MAKERS[input.kind] ?? makeJson)(input, example, changed, alone);
}

function frame(input, control, help, more = []) {
  control.id ||= `field-${input.name}`;
  const note = h("small", { id: `${control.id}-help` }, help);
  const error = h("small", { class: "field-error", id: `${control.id}-error`, role: "alert" });
  control.setAttribute("aria-describedby", `${control.id}-help ${control.id}-error`);
  const element = h("div", { class: "field", "data-title": input.title.toLowerCase() }, h("label", { for: control.id }, input.title), control, more, note, error);
  const setError = (text) => {
    if (error.textContent !== text) error.textContent = text;
    if (text) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
  };
  return { element, control, setError, note };
}

function plain(input, control, help, changed, read, alone) {
  const made = frame(input, control, help);
  control.addEventListener("input", changed);
  if (alone) made.element.classList.add("alone");
  return {
    ...made,
    name: input.name,
    title: input.title,
    read: () => read(control.value),
    save: () => control.value,
    restore: (value) => (control.value = value),
  };
}

function makeText(input, example, changed, alone) {
  const most = input.limits.max_chars ?? 20_000;
  const control = h("textarea", { rows: alone ? 7 : 3, spellcheck: "false" });
  control.value = example ?? "";
  const help = `${input.missing ? "May be empty. " : ""}At most ${most.toLocaleString("en")} characters.`;
  const field = plain(input, control, help, changed, (text) => readText(input, text, most), alone);
  const count = () => (field.note.textContent = control.value.length > most / 2 ? `${[...control.value].length.toLocaleString("en")} of at most ${most.toLocaleString("en")} characters.` : help);
  control.addEventListener("input", count);
  return { ...field, restore: (value) => ((control.value = value), count()) };
}

function readText(input, text, most) {
  const length = [...text].length;
  if (length > most) throw new FieldError(`expected at most ${most.toLocaleString("en")} characters; these are ${length.toLocaleString("en")}. Nothing was cut off: shorten it.`);
  if (text.trim() === "") {
    if (input.missing) return text === "" ? null : text;
    return undefined;
  }
  return text;
}

function makeNumber(input, example, changed) {
  const control = h("input", { type: "text", inputmode: "decimal", autocomplete: "off", placeholder: input.missing ? "missing" : null });
  control.value = example ?? "";
  return plain(input, control, input.missing ? "A number; may be empty." : "A number.", changed, (text) => readNumber(input, text));
}

function readNumber(input, text) {
  const given = text.trim();
  if (given === "") {
    if (input.missing) return null;
    throw new FieldError("is needed: expected a number");
  }
  const value = Number(given);
  if (!Number.isFinite(value)) throw new FieldError(`expected a number such as 3 or -0.5; received ${given.slice(0, 40)}`);
  return value;
}

function makeDate(input, example, changed) {
  const control = h("input", { type: "text", autocomplete: "off", placeholder: input.missing ? "missing" : "2026-11-29" });
  control.value = example ?? "";
  const help = `A date or time, such as 2026-11-29 or 2026-11-29T18:30:00${input.missing ? "; may be empty" : ""}.`;
  return plain(input, control, help, changed, (text) => readDate(input, text.trim()));
}

function readDate(input, text) {
  if (text === "") {
    if (input.missing) return null;
    throw new FieldError("is needed: expected a date");
  }
  if (!DATE.test(text) || Number.isNaN(Date.parse(text))) throw new FieldError(`expected a date such as 2026-11-29; received ${text.slice(0, 40)}`);
  return text;
}

function makeCategory(input, example, changed) {
  const values = input.values ?? [];
  const chosen = example === null || example === "" ? MISSING : values.includes(String(example)) ? String(example) : OTHER;
  const options = values.map((value) => h("option", { value: `=${value}` }, value));
  if (input.missing) options.push(h("option", { value: MISSING }, "(missing)"));
  options.push(h("option", { value: OTHER }, "Another value…"));
  const control = h("select", {}, options);
  const free = h("input", { type: "text", autocomplete: "off", "aria-label": `${input.title}: another value`, placeholder: "another value" });
  const made = frame(input, control, `${values.length >= 100 ? "The first 100 of its values" : `${values.length} known values`}; any other is taken as unknown.`, [free]);
  const show = () => (free.hidden = control.value !== OTHER);
  const set = (value, text) => {
    control.value = [...control.options].some((option) => option.value === value) ? value : (control.options[0]?.value ?? OTHER);
    free.value = text;
    show();
  };
  set(chosen === MISSING || chosen === OTHER ? chosen : `=${chosen}`, chosen === OTHER ? String(example ?? "") : "");
  control.addEventListener("input", () => (show(), changed()));
  free.addEventListener("input", changed);
  const read = () => {
    if (control.value === MISSING) return null;
    if (control.value !== OTHER) return control.value.slice(1);
    if (free.value === "" && !input.missing) throw new FieldError("is needed: choose or write a value");
    return free.value === "" ? null : free.value;
  };
  return { ...made, name: input.name, title: input.title, read, save: () => [control.value, free.value], restore: ([value, text]) => set(value, text) };
}

function makeJson(input, example, changed, alone) {
  const control = h("textarea", { rows: alone ? 6 : 3, spellcheck: "false", class: "mono" });
  control.value = example === null || example === undefined ? "" : JSON.stringify(example);
  return plain(input, control, describeJson(input), changed, (text) => readJson(input, text), alone);
}

function describeJson({ kind, limits }) {
  if (kind === "vector") return `A list of ${limits.size} ${limits.size === 1 ? "number" : "numbers"}, as JSON.`;
  if (kind === "sequence") return `A list of up to ${limits.max_steps} steps, each a list of ${limits.size} numbers, as JSON.`;
  return `JSON: ${limits.dtype ?? "values"} ${limits.shape ?? ""}. The first axis is left out: one instance.`;
}

function readJson({ kind, limits }, text) {
  if (text.trim() === "") throw new FieldError("is needed: expected JSON");
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new FieldError(`expected JSON: ${error.message}`);
  }
  if (kind === "vector" && !(Array.isArray(value) && value.length === limits.size)) {
    throw new FieldError(`expected a list of ${limits.size} numbers; received ${Array.isArray(value) ? `one of ${value.length}` : typeof value}`);
  }
  return value;
}

const MAKERS = { text: makeText, number: makeNumber, date: makeDate, category: makeCategory };
