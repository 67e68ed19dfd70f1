// One key for each class: its own name where that is one character, else 1 to 9 and then letters.

import { h } from "../dom.js";

const KEYS = "123456789abcdefghijklmnopqrstuvwxyz";

/** By key, the class; null where there are more classes than keys. */
export function assignKeys(labels) {
  if (labels.length > KEYS.length) return null;
  const own = labels.every((label) => [...label].length === 1 && label.trim() !== "") && new Set(labels.map((label) => label.toLowerCase())).size === labels.length;
  return new Map(labels.map((label, index) => [own ? label.toLowerCase() : KEYS[index], label]));
}

/** Buttons with their keys, or a field to find one of very many; `choose(label)`. */
export function classControls(labels, keys, choose) {
  if (keys === null) return classSearch(labels, choose);
  const short = labels.every((label) => label.length <= 2);
  return h("div", { class: short ? "classes short" : "classes", role: "group", "aria-label": "Classes" }, [...keys].map(([key, label]) => h("button", { type: "button", "data-key": key, "aria-keyshortcuts": key, onclick: () => choose(label) }, key === label.toLowerCase() ? null : h("kbd", {}, key), label)));
}

function classSearch(labels, choose) {
  const input = h("input", { id: "class-search", list: "class-list", autocomplete: "off", placeholder: `one of ${labels.length.toLocaleString("en")} classes` });
  const note = h("small", { class: "field-error", role: "alert" });
  const form = h("form", { class: "field" }, h("label", { for: "class-search" }, "Class (Enter sends it)"), input, note, h("datalist", { id: "class-list" }, labels.map((label) => h("option", { value: label }))));
  const known = new Set(labels);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    note.textContent = known.has(input.value) ? "" : `There is no class “${input.value.slice(0, 60)}”.`;
    if (!known.has(input.value)) return;
    choose(input.value);
    input.value = "";
    input.focus();
  });
  return form;
}

export function numberControl(choose) {
  const input = h("input", { id: "number", type: "text", inputmode: "decimal", autocomplete: "off" });
  const note = h("small", { class: "field-error", role: "alert" });
  const form = h("form", { class: "field" }, h("label", { for: "number" }, "The right number (Enter sends it)"), input, note);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const value = Number(input.value);
    const good = input.value.trim() !== "" && Number.isFinite(value);
    note.textContent = good ? "" : `Expected a number; received ${input.value.slice(0, 40) || "nothing"}.`;
    if (!good) return;
    choose(value);
    input.value = "";
    input.focus();
  });
  return form;
}
