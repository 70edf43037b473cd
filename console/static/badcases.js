/** The table of newest bad cases; a row stays itself while newer ones come in above it. */

import { element } from "./chart.js";
import { clock, count, feature, measure, words } from "./format.js";

const SHOWN = 3;
// Below this many cases a median says little, and the declared order is used.
const ENOUGH = 5;

const bodies = new Map();
let numbered = 0;

const identity = (item) => [item.time_ms, item.key, item.release, item.snapshot].join("\u0000");

/** Show `cases`, the newest first. */
export function showBadCases(cases) {
  const table = document.getElementById("bad-table");
  table.hidden = cases.length === 0;
  document.getElementById("bad-empty").hidden = cases.length > 0;
  const wanted = new Map(cases.map((item) => [identity(item), item]));
  for (const [id, body] of bodies) {
    if (!wanted.has(id)) {
      body.remove();
      bodies.delete(id);
    }
  }
  const spread = spreads(cases);
  let before = table.tHead;
  for (const [id, item] of wanted) {
    if (!bodies.has(id)) bodies.set(id, row(item, standouts(item, spread)));
    const body = bodies.get(id);
    // Moved only when out of place: moving a node takes the focus from what is inside it.
    if (before.nextElementSibling !== body) before.after(body);
    before = body;
  }
}

const middle = (sorted) => sorted[Math.floor(sorted.length / 2)];

/** Median and typical distance from it, per feature, over the cases listed. */
function spreads(cases) {
  const spread = new Map();
  if (cases.length < ENOUGH) return spread;
  for (const name of Object.keys(cases[0].features ?? {})) {
    const values = cases.map((item) => item.features?.[name]).filter((v) => typeof v === "number");
    if (values.length < ENOUGH) continue;
    const median = middle(values.toSorted((a, b) => a - b));
    const distance = values.reduce((sum, v) => sum + Math.abs(v - median), 0) / values.length;
    if (distance > 0) spread.set(name, { median, distance });
  }
  return spread;
}

function standouts(item, spread) {
  const known = Object.entries(item.features ?? {}).filter(([, value]) => value !== null);
  const far = ([name, value]) => {
    const typical = spread.get(name);
    return typical ? Math.abs(value - typical.median) / typical.distance : 0;
  };
  return known.toSorted((a, b) => far(b) - far(a)).slice(0, SHOWN);
}

function cell(label, ...content) {
  const made = element("td");
  made.setAttribute("role", "cell");
  made.dataset.label = label;
  made.append(...content);
  return made;
}

function line() {
  const made = element("tr");
  made.setAttribute("role", "row");
  return made;
}

function scoreBar(score) {
  const bar = element("span", "score", measure(score).slice(0, 5));
  bar.style.setProperty("--score", `${Math.max(0, Math.min(1, score ?? 0)) * 100}%`);
  return bar;
}

function pair([name, value]) {
  const chip = element("span", "chip");
  chip.append(element("span", "quiet", name), " ", element("b", "", feature(value)));
  return chip;
}

function row(item, top) {
  const body = element("tbody");
  body.setAttribute("role", "rowgroup");
  const summary = line();
  const all = details(item);
  summary.append(
    cell("Time", clock(item.time_ms)),
    cell("Reason", element("span", "reason", words(item.reason))),
    cell("Score", scoreBar(item.score)),
    cell("Label", String(item.label)),
    cell("Key", element("code", "", item.key)),
    cell("Model", `${item.release} · ${count(item.snapshot)}`),
    cell("Stands out", ...top.map(pair)),
    cell("", opener(item, all)),
  );
  body.append(summary, all);
  return body;
}

function opener(item, all) {
  const total = Object.keys(item.features ?? {}).length;
  const button = element("button", "open", `All ${total}`);
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-controls", all.id);
  button.setAttribute("aria-label", `All ${total} features of ${item.key}`);
  button.addEventListener("click", () => {
    all.hidden = !all.hidden;
    button.setAttribute("aria-expanded", String(!all.hidden));
  });
  return button;
}

function details(item) {
  const all = line();
  all.id = `case-${(numbered += 1)}`;
  all.className = "details";
  all.hidden = true;
  const list = element("dl", "features");
  for (const [name, value] of Object.entries(item.features ?? {})) {
    const box = element("div", value === null ? "missing" : "");
    box.append(element("dt", "", name), element("dd", "", feature(value)));
    list.append(box);
  }
  const only = cell("", list);
  only.colSpan = 8;
  all.append(only);
  return all;
}
