// Several jobs in the same charts: one colour for each everywhere; pointing at one fades the others.

import { path } from "../api.js";
import { curveBoard } from "../charts/curve_board.js";
import { addEvent } from "../charts/curves.js";
import { jobColours } from "../charts/job_colours.js";
import { find, pageData } from "../dom.js";
import { refresh } from "../refresh.js";
import { follow } from "../stream.js";

const MAX_FOLLOWED = 4; // A browser opens six connections to a server.

const data = pageData("compare-data");

function start() {
  const colours = jobColours(data.jobs.map(({ id }) => id));
  const jobs = data.jobs.map((job, place) => ({ ...job, token: colours.get(job.id), curves: data.curves[place] }));
  const paint = () => {
    for (const element of document.querySelectorAll("[data-job]")) element.style.setProperty("--job-colour", `var(${colours.get(element.dataset.job)})`);
  };
  const fade = (id) => {
    for (const element of document.querySelectorAll(".legend [data-job], .compared [data-job]")) element.classList.toggle("faded", id !== null && element.dataset.job !== id);
  };
  const board = curveBoard(find("#board"), { jobs, seeds: data.seeds, onFocus: fade });
  const focus = (id) => {
    board.focus(id);
    fade(id);
  };

  paint();
  document.addEventListener("refreshed", paint);
  document.addEventListener("pointerover", (event) => {
    if (event.target.closest("#board")) return; // the charts say so themselves
    focus(event.target.closest(".legend [data-job], .compared [data-job]")?.dataset.job ?? null);
  });
  for (const box of document.querySelectorAll("[data-show]")) {
    box.checked = !board.isHidden(box.dataset.show);
    box.addEventListener("change", () => board.hideJob(box.dataset.show, !box.checked));
  }
  for (const cell of document.querySelectorAll(".matrix [data-share]")) {
    if (cell.dataset.share !== "") cell.style.setProperty("background", `color-mix(in srgb, var(--bad) ${Math.min(60, Math.round(120 * (1 - Number(cell.dataset.share))))}%, transparent)`);
  }
  for (const job of jobs.filter(({ ended }) => !ended).slice(0, MAX_FOLLOWED)) watch(job, board);
}

function watch(job, board) {
  const banner = find("#stream");
  let began = null;
  const tell = (body) => {
    const at = new Date(body.at);
    began ??= at - 1000 * (job.curves.seconds.at(-1) ?? job.curves.within.seconds.at(-1) ?? 0);
    if (addEvent(job.curves, body, (at - began) / 1000)) board.update();
  };
  const stop = follow(`${path("api", "jobs", job.id)}/events`, {
    after: job.curves.next,
    on: { progress: tell, point: tell },
    status: (state, text) => {
      banner.hidden = state !== "broken";
      if (state === "broken") banner.textContent = `${text} This page goes on by itself, as soon as there is an answer.`;
      if (state === "ended") refresh("#differences, #legend").catch(console.error);
    },
  });
  addEventListener("pagehide", stop);
}

if (data) start();
