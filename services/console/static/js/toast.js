// Short messages in a corner, which screen readers read out.

import { h } from "./dom.js";

const SHOWN_MS = 6000;

export function announce(text, kind = "good") {
  const place = document.getElementById("toasts");
  const toast = h("div", { class: `toast ${kind}` }, text);
  place.append(toast);
  setTimeout(() => toast.remove(), kind === "bad" ? 3 * SHOWN_MS : SHOWN_MS);
}
