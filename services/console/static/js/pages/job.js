// One job: what its stream tells is drawn as it comes; the rest of the page is fetched anew when a stage or a state ends.

import { path, api } from "../api.js";
import { curveBoard } from "../charts/curve_board.js";
import { addEvent } from "../charts/curves.js";
import { jobColours } from "../charts/job_colours.js";
import { find, pageData } from "../dom.js";
import { refresh } from "../refresh.js";
import { follow } from "../stream.js";
import { duration } from "../time.js";
import { percent } from "../format.js";
import { showLog } from "./job_log.js";

const FINAL = ["succeeded", "rejected", "failed", "cancelled"];
const PARTS = "#status, #actions, #outcome, #facts";
const status = find("#status");
const { job } = status.dataset;
const curves = pageData("curves-data");
const banner = find("#stream");
const label = document.querySelector("h1").textContent;

let began = null; // when the job first reported: seconds of its curves count from there
let board = null;
let stage = "";
let left = null; // {s, at, share, atMost}: the latest estimate
let drawing = 0;

const ended = () => find("#status").dataset.ended === "true";

function draw() {
  if (!curves.epochs.length && !curves.within.epochs.length) return;
  board ??= curveBoard(find("#board"), { jobs: [{ id: job, label, token: jobColours([job]).get(job), curves }] });
  board.update();
  const { best, epochs } = curves;
  const ago = best && `${best.since} ${best.since === 1 ? "epoch" : "epochs"}`;
  const now = ended() ? "Best" : "Best so far";
  find("#best").textContent = !best ? "" : best.since ? `${now}: epoch ${best.epoch}, ${ago} ${ended() ? "before the last" : "ago"}` : `${now}: epoch ${best.epoch}, the ${ended() ? "last" : "latest"}`;
}

/** At most one drawing for each frame. */
function drawSoon() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    draw();
  });
}

function showProgress(body) {
  if (body.stage !== stage) {
    if (stage) refreshSoon();
    stage = body.stage;
  }
  left = typeof body.eta_s === "number" ? { s: body.eta_s, at: performance.now(), share: body.share, atMost: body.eta_at_most } : null;
  const where = document.getElementById("where");
  if (where) where.textContent = body.epoch ? `epoch ${body.epoch} of ${body.epochs}${body.step && body.step < body.steps ? `, step ${body.step} of ${body.steps}` : ""}` : body.message ?? "";
  showLeft();
}

/** The estimate counts down between two reports: a stage like export tells it once. */
function showLeft() {
  const [bar, text] = [document.getElementById("bar"), document.getElementById("eta")];
  if (!bar || !stage) return;
  if (!left) {
    bar.removeAttribute("value");
    text.textContent = stage;
    return;
  }
  const passed = (performance.now() - left.at) / 1000;
  const rest = Math.max(0, left.s - passed);
  const total = left.share < 1 ? left.s / (1 - left.share) : 0;
  const share = total ? 1 - rest / total : 1;
  bar.value = share;
  text.textContent = rest < 1 ? "Almost done" : `${percent(share, 0)} · ${left.atMost ? "at most " : ""}${duration(rest)} left`;
}

let waiting = 0;
function refreshSoon() {
  clearTimeout(waiting);
  waiting = setTimeout(() => refresh(PARTS).catch(console.error), 150);
}

function say(text) {
  banner.hidden = !text;
  banner.textContent = text;
}

function tell(body, id) {
  const at = new Date(body.at);
  began ??= at - 1000 * (curves.seconds.at(-1) ?? curves.within.seconds.at(-1) ?? 0);
  if (id) curves.next = id;
  if (addEvent(curves, body, (at - began) / 1000)) drawSoon();
}

const log = showLog(job);
draw();

if (!ended()) {
  const stop = follow(`${path("api", "jobs", job)}/events`, {
    after: curves.next,
    on: {
      state: (body) => {
        refreshSoon();
        log.update();
        if (FINAL.includes(body.state)) left = null;
      },
      progress: (body, id) => {
        tell(body, id);
        showProgress(body);
        log.update();
      },
      point: tell,
      now: (body) => {
        showProgress(body);
        log.update();
      },
    },
    status: (state, text) => {
      if (state === "open") say("");
      if (state === "broken") say(`${text} This page goes on by itself where it was, as soon as there is an answer.`);
      if (state === "gone") {
        say(`This job is not there any more: ${text}`);
        find("#status").removeAttribute("data-refresh");
      }
      if (state === "ended") {
        say("");
        finish();
      }
    },
  });
  addEventListener("pagehide", stop);
  addEventListener("pageshow", (event) => event.persisted && location.reload()); // back from the browser's cache
  document.addEventListener("refreshed", showLeft); // what the server knew is a moment old
  setInterval(showLeft, 1000);
}

/** The last look: all that came while the stream ended. */
async function finish() {
  stage = "";
  await refresh(PARTS);
  Object.assign(curves, await api.get(`${path("api", "jobs", job)}/curves`));
  draw();
  log.update();
}
