/** Start the page: poll the status, draw it, and say plainly when it cannot be had. */

import { showBadCases } from "./badcases.js";
import { Chart } from "./chart.js";
import { CURVES } from "./curves.js";
import { clock } from "./format.js";
import { pill, showHeadline } from "./headline.js";
import { loseJobs, showJobs } from "./jobs.js";
import { takeKey } from "./key.js";
import { poll } from "./poll.js";
import { redrawQuality, showQuality } from "./quality.js";
import { onSchemeChange } from "./theme.js";
import { Track } from "./track.js";
import { showTrial } from "./trial.js";

const STATUS = "../v1/status";
const JOBS = "../v1/jobs";
const JOBS_MS = 2_000;

const by = (id) => document.getElementById(id);

const state = { status: null, seconds: 600, paused: false, retryAt: null };

const track = new Track(by("chart-track"));
const charts = Object.entries(CURVES).map(([id, spec]) => new Chart(by(id), spec, readTime));
const SHORTEST_MS = 30_000;
const views = [track, ...charts];

function readTime(ms) {
  by("readout").textContent = ms === null ? `Local time ${clock(state.status?.now_ms)}` : `At ${clock(ms)}`;
}

function draw() {
  const { status } = state;
  if (status === null) return;
  showHeadline(status);
  drawCurves();
  showQuality(status);
  showTrial(status);
  showBadCases(status.bad_cases ?? []);
}

// The chosen range, or what there is of it: a service that has just begun fills the width as well.
function beginning({ api, worker, now_ms: now }, seconds) {
  const first = [api?.series?.[0], worker?.series?.[0]].map((point) => point?.time_ms ?? now);
  return Math.max(now - seconds * 1000, Math.min(...first, now - SHORTEST_MS));
}

function drawCurves() {
  const { status, seconds } = state;
  if (status === null) return;
  const from = beginning(status, seconds);
  for (const view of views) view.show(status, from, status.now_ms);
  if (charts[0].plot.cursor.idx == null) readTime(null);
}

function connected(status) {
  state.retryAt = null;
  document.body.dataset.connection = state.paused ? "paused" : "live";
  pill("connection", state.paused ? "wait" : "good", state.paused ? "Paused" : "Live");
  by("connection-detail").textContent = "";
  if (state.paused) return;
  state.status = status;
  draw();
}

function lost(error, waitMs) {
  document.body.dataset.connection = "reconnecting";
  state.retryAt = Date.now() + waitMs;
  pill("connection", "warn", "Reconnecting");
  pill("api", "bad", "API unreachable");
  pill("worker", "wait", "Worker unknown");
  countDown();
}

function countDown() {
  if (state.retryAt === null) return;
  const left = Math.ceil((state.retryAt - Date.now()) / 1000);
  by("connection-detail").textContent = left > 1 ? ` in ${left} s` : " now";
}

function pause() {
  state.paused = !state.paused;
  by("pause").setAttribute("aria-pressed", String(state.paused));
  by("pause").textContent = state.paused ? "Resume" : "Pause";
}

by("pause").addEventListener("click", pause);
for (const radio of document.querySelectorAll("input[name=range]")) {
  radio.addEventListener("change", () => {
    state.seconds = Number(radio.value);
    drawCurves();
  });
}
onSchemeChange(() => {
  views.forEach((view) => view.redraw());
  redrawQuality();
});
setInterval(countDown, 1000);
// Polls look again at once when the page comes online, and so they do with a key.
takeKey(() => window.dispatchEvent(new Event("online")));
poll(STATUS, { onStatus: connected, onFailure: lost });
poll(JOBS, {
  onStatus: (jobs) => state.paused || showJobs(jobs, state.status?.now_ms ?? jobs.seen_ms ?? Date.now()),
  onFailure: loseJobs,
}, JOBS_MS);
