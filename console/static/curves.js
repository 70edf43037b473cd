/** What the five charts are: their lines, their units, and what they wait for at first. */

import { aroundBulk, fromZero } from "./chart.js";
import { count, duration, measure, rate } from "./format.js";
import {
  STAGES, aucColumns, lagColumns, latencyColumns, lossColumns, ofNumbers, throughputColumns,
} from "./series.js";

const LABEL_WAIT = "Waiting for the first labels";
const LAG_COLOURS = ["one", "two", "three", "four", "five"];

// As many decimals as the steps of the axis need.
const decimals = (value, splits) => {
  const step = splits.length > 1 ? splits[1] - splits[0] : 0.1;
  const written = String(Number(step.toPrecision(3))).split(".")[1] ?? "";
  return value.toFixed(Math.min(6, Math.max(2, written.length)));
};

const quality = (title, ofNumber, columns, better) => ({
  title, unit: `${better} is better`, columns,
  rename: (status) => (ofNumbers(status) ? [ofNumber, "lower is better"] : [title, `${better} is better`]),
  waiting: LABEL_WAIT, range: aroundBulk, fill: true,
  axisText: decimals,
  lines: [
    { name: "service", colour: "service", text: measure },
    { name: "frozen release", colour: "release", dash: true, text: measure },
  ],
});

/** Chart descriptions by the id of their figure. */
export const CURVES = {
  "chart-auc": quality("Running AUC", "Running MAE", aucColumns, "higher"),
  "chart-loss": quality("Running log-loss", "Running RMSE", lossColumns, "lower"),
  "chart-throughput": {
    title: "Throughput", unit: "per second", columns: throughputColumns, range: fromZero,
    waiting: "Waiting for the first event", axisText: count,
    lines: [
      { name: "events", colour: "one", text: rate },
      { name: "examples", colour: "two", text: rate },
      { name: "scores", colour: "service", text: rate },
    ],
  },
  "chart-latency": {
    title: "Score latency", unit: "at the api", columns: latencyColumns, range: fromZero,
    waiting: "Waiting for the first request", axisText: (value) => `${+value.toPrecision(3)} ms`,
    lines: [
      { name: "p50", colour: "service", text: duration },
      { name: "p99", colour: "two", text: duration },
    ],
  },
  "chart-lag": {
    title: "Lag", unit: "messages behind", columns: lagColumns, range: fromZero,
    waiting: "Waiting for the worker", axisText: count,
    lines: STAGES.map((name, i) => ({ name, colour: LAG_COLOURS[i], text: count })),
  },
};
