/** The scheduler's jobs: what runs and for how long, what waits and why, what ended and how. */

import { element } from "./chart.js";
import { NONE, ago, clock, count, duration } from "./format.js";

const by = (id) => document.getElementById(id);
// A scheduler tells of itself every two seconds.
const SILENT_MS = 30_000;
const ENDED_SHOWN = 8;

let drawn = "";

/** Show the answer of `/v1/jobs`, at a time of this machine's clock (ms). */
export function showJobs(jobs, now) {
  const lines = [
    ...jobs.running.map((job) => running(job, now)),
    ...jobs.waiting.map((job) => waiting(job, now)),
    ...jobs.ended.slice(0, ENDED_SHOWN).map((job) => ended(job, now)),
  ];
  by("jobs-note").textContent = note(jobs, now);
  by("jobs-empty").hidden = lines.length > 0;
  by("jobs-box").hidden = lines.length === 0;
  // Drawn anew only when it says something else: a marked text would lose its marking.
  const text = JSON.stringify(lines);
  if (text === drawn) return;
  drawn = text;
  by("jobs-rows").replaceChildren(...lines.map(row));
}

/** Say that the jobs cannot be had; what was known of them stays. */
export function loseJobs() {
  by("jobs-note").textContent = "Jobs unknown: the API does not answer";
}

function note(jobs, now) {
  if (jobs.seen_ms === null) return "No scheduler has told of itself.";
  if (now - jobs.seen_ms > SILENT_MS) return `The scheduler was last heard of ${ago(jobs.seen_ms, now)}.`;
  return `${count(jobs.running.length)} running, ${count(jobs.waiting.length)} waiting`;
}

const common = (job) => ({
  id: job.id, what: job.what, group: job.production ? "production" : "experiment", from: job.origin,
});

function running(job, now) {
  return {
    ...common(job), state: job.stopping ? "stopping" : "running", tone: "live",
    time: `for ${duration(Math.max(0, now - job.started_ms))}`,
    text: attempt(job, job.place),
  };
}

function waiting(job, now) {
  const until = job.until_ms === null ? "" : `, until ${clock(job.until_ms)}`;
  return {
    ...common(job), state: "waiting", tone: "wait",
    time: `for ${duration(Math.max(0, now - job.submitted_ms))}`, text: `${job.why}${until}`,
  };
}

function ended(job, now) {
  const code = job.exit_code === null ? "" : `, exit code ${job.exit_code}`;
  const tone = { done: "good", failed: "bad" }[job.outcome] ?? "wait";
  return {
    ...common(job), state: job.outcome, tone, time: ago(job.ended_ms, now),
    text: attempt(job, `${job.meaning}${code}`),
  };
}

const attempt = (job, text) => (job.attempt > 1 ? `${text || NONE} (attempt ${job.attempt})` : text || NONE);

function row(line) {
  const made = element("tr");
  made.setAttribute("role", "row");
  const state = element("span", "job-state", line.state);
  state.dataset.tone = line.tone;
  made.append(
    cell("State", state),
    cell("Job", element("b", "", `${line.id}`), " ", line.what),
    cell("Class", line.group),
    cell("From", line.from),
    cell("Time", line.time),
    cell("What of it", line.text),
  );
  return made;
}

function cell(label, ...content) {
  const made = element("td");
  made.setAttribute("role", "cell");
  made.dataset.label = label;
  made.append(...content);
  return made;
}
