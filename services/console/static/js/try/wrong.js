// "That's wrong": says what is true of an answer. It is asked for once more, so that it is kept with its input.

import { api } from "../api.js";
import { h } from "../dom.js";
import { announce } from "../toast.js";
import { request } from "./asking.js";

const FEW = 12;
const CAPTURED = { "X-Capture": "yes" };

/** Puts the button into a panel that shows an answer. `page`: what the page brought along. */
export function offerCorrection(panel, call, page) {
  panel.foot.replaceChildren();
  if (!page.may_give_feedback) return;
  const open = h("button", { type: "button", class: "wrong" }, "That's wrong");
  open.addEventListener("click", () => {
    panel.foot.replaceChildren(page.feedback === null ? explainKind(page) : page.capture.on ? ask(panel, call, page) : explainCapture(page));
    panel.foot.querySelector("button, input")?.focus();
  });
  panel.foot.append(open);
}

function explainKind({ name }) {
  return h("p", { class: "notice" }, `Feedback is one class or one number, and ${name} answers with something else, which takes none. Train it on corrected data instead.`);
}

function explainCapture({ name }) {
  const id = "capture-setting";
  return h(
    "div",
    { class: "notice warn" },
    h("p", {}, `Answers of ${name} are not kept, so there is nothing that feedback could be about: inputs may be personal, and keeping them is off until somebody wants it.`),
    h("p", {}, "Start the gateway with this setting (several names by commas), and try again:"),
    h("div", { class: "command" }, h("code", { id }, `MODELYARD_CAPTURED_MODELS=${name}`), h("button", { type: "button", "data-copy": id }, "Copy")),
  );
}

function ask(panel, call, page) {
  const alert = h("p", { role: "alert" });
  const send = (truth, shown) => correct(panel, call, page, truth, shown, alert);
  const control = page.feedback === "number" ? numberForm(send) : page.labels.length <= FEW ? classButtons(page, panel, send) : classForm(page, send, alert);
  return h("div", { class: "correction" }, h("p", { class: "label", id: "correction-title" }, "What is right?"), control, alert);
}

function classButtons({ labels }, panel, send) {
  const others = labels.filter((name) => name !== panel.read.label);
  return h("div", { class: "row", role: "group", "aria-labelledby": "correction-title" }, others.map((name) => h("button", { type: "button", onclick: () => send({ label: name }, name) }, name)));
}

function classForm({ labels }, send, alert) {
  const input = h("input", { list: "all-classes", "aria-labelledby": "correction-title", autocomplete: "off", required: true });
  const list = h("datalist", { id: "all-classes" }, labels.map((name) => h("option", { value: name })));
  const form = h("form", { class: "inline" }, input, list, h("button", { type: "submit" }, "Send"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (labels.includes(input.value)) send({ label: input.value }, input.value);
    else alert.textContent = `There is no class “${input.value.slice(0, 60)}”: choose one of the ${labels.length.toLocaleString("en")}.`;
  });
  return form;
}

function numberForm(send) {
  const input = h("input", { type: "number", step: "any", required: true, "aria-labelledby": "correction-title" });
  const form = h("form", { class: "inline" }, input, h("button", { type: "submit" }, "Send"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send({ value: Number(input.value) }, input.value);
  });
  return form;
}

async function correct(panel, call, page, truth, shown, alert) {
  const version = panel.answer.version;
  alert.textContent = "";
  panel.foot.setAttribute("aria-busy", "true");
  try {
    const kept = await request(`/v1/models/${encodeURIComponent(page.name)}/versions/${version}:predict`, call, CAPTURED);
    await api.post("/api/feedback", { request_id: kept.requestId, chosen: "hand", ...truth });
    panel.foot.replaceChildren(h("p", { class: "notice good" }, `Kept: version ${version} should have said “${shown}”. The next training with feedback learns from it; it does not count for a canary, as it was picked by hand.`));
    announce("Thank you: kept as feedback.");
  } catch (error) {
    alert.textContent = error.status === 404 ? `${error.message}. The gateway may have dropped it while it was busy; try again.` : error.message;
  } finally {
    panel.foot.removeAttribute("aria-busy");
  }
}
