/** The quality section: the measures now, by time of prediction, by slice; experts and drift. */

import { BucketChart } from "./buckets.js";
import { element } from "./chart.js";
import { NONE, ago, clock, count, measure, percent } from "./format.js";
import { showSlices } from "./slices.js";

/** What can be looked at: name, whether higher is better, how it is said. */
export const MEASURES = {
  log_loss: { name: "Log-loss", higher: false },
  auc: { name: "AUC", higher: true },
  calibration_error: { name: "Calibration error", higher: false },
  accuracy: { name: "Accuracy", higher: true },
  rmse: { name: "RMSE", higher: false },
  mae: { name: "MAE", higher: false },
};
const OF_TASK = {
  binary: ["log_loss", "auc", "calibration_error", "accuracy"],
  regression: ["rmse", "mae"],
  multiclass: [],
};
const ROLE_NAMES = { service: "service", release: "frozen release", candidate: "candidate" };

const by = (id) => document.getElementById(id);
const state = { chosen: null, task: null, status: null };
let chart = null;

/** Show the section for one status. */
export function showQuality(status) {
  state.status = status;
  chart ??= new BucketChart(by("chart-buckets"));
  const found = status.worker?.quality ?? null;
  choices(found?.task ?? "binary");
  const shown = { key: state.chosen, ...MEASURES[state.chosen] };
  chart.show(found, shown);
  showNow(found);
  showSlices(found?.slices ?? [], shown);
  showExperts(found?.experts ?? {});
  showDrift(found?.drift ?? [], status.now_ms);
  by("quality-note").textContent = note(found);
}

/** Draw again after the width or the scheme has changed. */
export const redrawQuality = () => chart?.redraw();

function note(found) {
  if (!found?.examples) return "Measured by labels that came after the answer.";
  const delay = ageOf(found.maturity, 0.9);
  const text = `${count(found.examples)} labels since the worker began`;
  return delay === null ? `${text}; how late labels come is not known yet.`
    : `${text}; 9 of 10 come within ${span(delay)}.`;
}

function ageOf(maturity, share) {
  if (!maturity?.known) return null;
  const place = (maturity.shares ?? []).findIndex((value) => value >= share);
  return place < 0 ? null : maturity.ages_ms[place];
}

function span(ms) {
  const units = [[86400000, "days"], [3600000, "hours"], [60000, "minutes"], [1000, "seconds"]];
  const [size, name] = units.find(([unit]) => ms >= 2 * unit) ?? units.at(-1);
  return `${+(ms / size).toPrecision(2)} ${name}`;
}

function choices(task) {
  if (state.task === task) return;
  state.task = task;
  const names = OF_TASK[task] ?? [];
  state.chosen = names[0] ?? "log_loss";
  by("measures").replaceChildren(element("legend", "unseen", "Measure shown"), ...names.map((name) => {
    const label = element("label");
    const radio = element("input");
    Object.assign(radio, { type: "radio", name: "measure", value: name, checked: name === state.chosen });
    radio.addEventListener("change", () => {
      state.chosen = name;
      showQuality(state.status);
    });
    label.append(radio, element("span", "", MEASURES[name].name));
    return label;
  }));
}

/** Rows are roles, columns the measures over the newest examples and decayed. */
function showNow(found) {
  const names = OF_TASK[found?.task ?? "binary"] ?? [];
  const known = found !== null && found.examples > 0;
  by("now-empty").hidden = known;
  by("now-table").hidden = !known;
  if (!known) return;
  const { sliding, decayed, candidate } = found;
  const parts = [
    [`newest ${count(sliding.examples)}`, sliding.roles],
    [`decayed, half-life ${count(decayed.half_life)}`, decayed.roles],
  ];
  if (candidate) {
    const compared = { candidate: candidate.candidate, service: candidate.service };
    parts.push([`candidate's newest ${count(candidate.examples)}`, compared]);
  }
  const bodies = parts.flatMap(([title, roles]) => body(title, roles, names));
  by("now-table").replaceChildren(head(["", ...names.map((name) => MEASURES[name].name)]), ...bodies);
}

function head(titles) {
  const top = element("thead");
  const line = element("tr");
  line.append(...titles.map((title) => {
    const cell = element("th", "", title);
    cell.scope = "col";
    return cell;
  }));
  top.append(line);
  return top;
}

function body(title, roles, names) {
  const made = element("tbody");
  const over = element("tr", "group");
  const name = element("th", "", title);
  name.colSpan = names.length + 1;
  name.scope = "colgroup";
  over.append(name);
  made.append(over, ...Object.entries(roles).map(([role, measures]) => {
    const line = element("tr");
    const first = element("th");
    first.scope = "row";
    first.append(element("span", `swatch ${role === "candidate" ? "two" : role}${role === "release" ? " dashed" : ""}`), ROLE_NAMES[role] ?? role);
    line.append(first, ...names.map((each) => element("td", "", measure(measures?.[each]))));
    return line;
  }));
  return made;
}

function showExperts(weights) {
  const entries = Object.entries(weights).sort((a, b) => b[1] - a[1]);
  by("experts").hidden = entries.length === 0;
  by("expert-list").replaceChildren(...entries.map(([name, weight]) => {
    const item = element("li");
    const bar = element("span", "weight");
    bar.style.setProperty("--share", `${Math.max(0, Math.min(1, weight)) * 100}%`);
    item.append(element("span", "", name), bar, element("b", "", percent(weight)));
    return item;
  }));
}

function showDrift(alerts, now) {
  by("drift-empty").hidden = alerts.length > 0;
  by("drift-list").replaceChildren(...alerts.slice(0, 6).map((alert) => {
    const item = element("li");
    item.dataset.state = alert.state;
    const title = element("p", "drift-title");
    title.append(element("b", "", `${alert.subject} ${alert.state === "began" ? "moved" : "is back"}`),
      element("span", "quiet", ` ${clock(alert.time_ms)}, ${ago(alert.time_ms, now)}`));
    item.append(title, element("p", "", alert.message || NONE));
    return item;
  }));
}
