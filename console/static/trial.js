/** The models beside the champion: who answers how much, and what the comparison shows. */

import { element } from "./chart.js";
import { NONE, count, eventTime, measure, percent, signed } from "./format.js";

const by = (id) => document.getElementById(id);

let drawn = "";

/** Show the worker's `trial` of a status; without a challenger the section is not there. */
export function showTrial(status) {
  const trial = status.worker?.trial ?? null;
  const arms = trial?.arms ?? [];
  by("trial").hidden = arms.length === 0;
  if (arms.length === 0) return;
  by("trial-note").textContent = `Beside champion ${trial.champion}, up to ${eventTime(trial.now_ms)}`;
  const lines = arms.map(told);
  // Drawn anew only when it says something else: a marked text would lose its marking.
  const text = JSON.stringify(lines);
  if (text === drawn) return;
  drawn = text;
  by("trial-rows").replaceChildren(...lines.map(row));
}

function told(arm) {
  return [
    ["Release", arm.release],
    ["Role", role(arm)],
    ["Examples", `${count(arm.examples)} in ${count(arm.blocks)} blocks`],
    ["Loss", `${measure(arm.loss)}, champion ${measure(arm.champion_loss)}`],
    ["Better by", difference(arm)],
    ["What of it", whatOfIt(arm)],
  ];
}

function role(arm) {
  if (arm.role === "watched") return "champion before, watched";
  return arm.share > 0 ? `canary, ${percent(arm.share)}` : "shadow";
}

function difference(arm) {
  if (arm.difference === null) return NONE;
  return arm.low === null ? signed(arm.difference)
    : `${signed(arm.difference)} (${signed(arm.low)} to ${signed(arm.high)})`;
}

function whatOfIt(arm) {
  const found = [];
  if (arm.behind > 0) found.push(`${count(arm.behind)} examples to learn`);
  if (arm.failed > 0) found.push(`${count(arm.failed)} not scored`);
  if (arm.waiting) found.push(`waits: ${arm.waiting}`);
  return found.join("; ") || NONE;
}

function row(cells) {
  const made = element("tr");
  made.setAttribute("role", "row");
  made.append(...cells.map(([label, text]) => cell(label, text)));
  return made;
}

function cell(label, text) {
  const made = element("td", "", text);
  made.setAttribute("role", "cell");
  made.dataset.label = label;
  return made;
}
