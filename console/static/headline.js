/** The strip of key numbers, the state pills and the counts round the loop. */

import { element } from "./chart.js";
import { NONE, ago, count, duration, eventTime, measure, rate, signed } from "./format.js";

const COUNTS = {
  events_read: "events read",
  events_applied: "events applied",
  dead_letters: "dead letters",
  predictions: "predictions",
  labels_joined: "labels joined",
  examples: "examples learned",
  bad_cases: "bad cases",
};
// The speed of a replay is measured over this many points, so that it does not flicker.
const SPEED_POINTS = 15;

const put = (id, text) => {
  const node = document.getElementById(id);
  if (node.textContent !== text) node.textContent = text;
  return node;
};

const card = (name, value, detail) => {
  put(`${name}-value`, value);
  return put(`${name}-detail`, detail);
};

/** Show the whole strip for one status. */
export function showHeadline(status) {
  const last = status.worker?.series?.at(-1) ?? {};
  put("project", status.project ?? "");
  document.title = status.project ? `${status.project} · Tidemill console` : "Tidemill console";
  put("stream-time", streamText(status.worker?.series ?? []));
  showServing(status);
  const numbers = last.rmse !== undefined;
  put("auc-title", numbers ? "MAE" : "AUC");
  put("loss-title", numbers ? "RMSE" : "Log-loss");
  showQuality("auc", numbers ? last.mae : last.auc, numbers ? -1 : 1);
  showQuality("loss", numbers ? last.rmse : last.log_loss, -1);
  showApi(status, last);
  showLag(last.lag);
  showWorker(status);
  showCounts(status);
}

function streamText(points) {
  const last = points.at(-1);
  if (!last?.event_time_ms) return "Waiting for the stream";
  const first = points.slice(-SPEED_POINTS)[0];
  const wall = last.time_ms - first.time_ms;
  const speed = wall > 0 ? (last.event_time_ms - first.event_time_ms) / wall : 0;
  const text = `Stream time ${eventTime(last.event_time_ms)}`;
  return speed > 2 ? `${text}, ${count(+speed.toPrecision(2))}× real time` : text;
}

function showServing(status) {
  const model = status.model ?? {};
  put("serving-release", model.release ?? NONE);
  const served = model.release && model.release !== "prior";
  put("serving-detail", served
    ? `snapshot ${count(model.snapshot)}, ${count(model.examples)} examples, adopted ${ago(model.adopted_ms, status.now_ms)}`
    : "Waiting for the first release");
}

/** `direction` is 1 where higher is better, -1 where lower is. */
function showQuality(name, pair, direction) {
  const gap = pair?.service != null && pair?.release != null ? pair.service - pair.release : null;
  const detail = card(name, measure(pair?.service),
    pair?.service == null ? "Waiting for the first label"
      : gap === null ? "no release to compare" : `${signed(gap)} vs release`);
  detail.dataset.tone = gap === null || Math.abs(gap) < 5e-5 ? "even" : gap * direction > 0 ? "good" : "poor";
}

function showApi(status, last) {
  const api = status.api ?? {};
  const point = api.series?.at(-1);
  card("scores", point ? `${rate(point.scores_per_second)}/s` : NONE,
    last.events_per_second == null ? "Waiting for the first event"
      : `${rate(last.events_per_second)} events/s`);
  const failed = api.failed_total ?? 0;
  card("latency", duration(api.latency_ms?.p99),
    api.requests_total ? `p50 ${duration(api.latency_ms?.p50)}, queue ${count(api.queue_depth)}`
      : "Waiting for the first request");
  const fresh = api.label_to_weights_ms;
  card("freshness", duration(fresh?.p50),
    fresh?.p50 == null ? "Waiting for the first label" : `p99 ${duration(fresh.p99)}`);
  pill("api", failed ? "warn" : "good", failed ? `API, ${count(failed)} failed` : "API ok");
}

function showLag(lag) {
  const entries = Object.entries(lag ?? {}).filter(([, value]) => value != null);
  if (entries.length === 0) {
    card("lag", NONE, "Waiting for the worker");
    return;
  }
  const total = entries.reduce((sum, [, value]) => sum + value, 0);
  const [stage, most] = entries.reduce((a, b) => (b[1] > a[1] ? b : a));
  card("lag", count(total), most > 0 ? `most in ${stage}: ${count(most)}` : "messages, all caught up");
}

function showWorker(status) {
  const worker = status.worker;
  const paused = worker?.alive && worker.paused;
  if (paused) pill("worker", "bad", `Learning paused: ${paused.message}; ${count(paused.quarantined)} put aside`);
  else if (worker?.alive) pill("worker", "good", "Worker ok");
  else if (worker?.seen_ms) pill("worker", "bad", `Worker silent, seen ${ago(worker.seen_ms, status.now_ms)}`);
  else pill("worker", "wait", "Waiting for the worker");
}

function showCounts(status) {
  const counts = status.worker?.counts ?? {};
  const rows = Object.entries(COUNTS).map(([name, label]) => [name, label, counts[name]]);
  rows.push(["requests_total", "score requests", status.api?.requests_total]);
  rows.push(["failed_total", "failed requests", status.api?.failed_total]);
  const list = document.getElementById("counts");
  if (list.childElementCount === 0) {
    list.append(...rows.map(([name, label]) => {
      const box = element("div");
      const value = element("dd", "", NONE);
      value.dataset.count = name;
      box.append(element("dt", "quiet", label), value);
      return box;
    }));
  }
  for (const [name, , value] of rows) {
    const node = list.querySelector(`[data-count="${name}"]`);
    node.textContent = count(value);
    node.dataset.tone = ["dead_letters", "failed_total"].includes(name) && value > 0 ? "poor" : "even";
  }
}

/** Set one state pill: good, warn, bad or wait. */
export function pill(name, state, text) {
  document.getElementById(`pill-${name}`).dataset.state = state;
  put(name === "connection" ? "connection-text" : `${name}-text`, text);
}
