/** Turn the status into the columns that each chart draws. */

import uPlot from "./vendor/uplot-1-6-32/uPlot.esm.js";

// Points come once a second; a longer silence is a break in the line, not a straight stretch.
const SILENCE_MS = 5000;

const second = (ms) => Math.round(ms / 1000) * 1000;

/** Columns [times, ...values] of `points`; `picks` are functions from a point to a number or null. */
export function columns(points, picks) {
  const table = [[], ...picks.map(() => [])];
  const add = (time, values) => {
    table[0].push(time);
    values.forEach((value, i) => table[i + 1].push(value));
  };
  let last = null;
  for (const point of points) {
    const time = second(point.time_ms);
    if (last !== null && time <= last) continue;
    if (last !== null && time - last > SILENCE_MS) add(last + 1000, picks.map(() => null));
    add(time, picks.map((pick) => pick(point) ?? null));
    last = time;
  }
  return table;
}

const workerPoints = (status) => status.worker?.series ?? [];
/** Whether the labels are numbers: then errors stand where AUC and log-loss would. */
export const ofNumbers = (status) => workerPoints(status).at(-1)?.rmse !== undefined;

const apiPoints = (status) => status.api?.series ?? [];

export const aucColumns = (status) =>
  columns(workerPoints(status), [(p) => (p.auc ?? p.mae)?.service, (p) => (p.auc ?? p.mae)?.release]);

export const lossColumns = (status) =>
  columns(workerPoints(status), [
    (p) => (p.log_loss ?? p.rmse)?.service, (p) => (p.log_loss ?? p.rmse)?.release,
  ]);

export const latencyColumns = (status) =>
  columns(apiPoints(status), [(p) => p.p50_ms, (p) => p.p99_ms]);

export const STAGES = ["events", "updates", "join", "learn", "archive"];

export const lagColumns = (status) =>
  columns(workerPoints(status), STAGES.map((stage) => (p) => p.lag?.[stage]));

/** Scores are counted by the api, events and examples by the worker: two clocks, one axis. */
export function throughputColumns(status) {
  const worker = columns(workerPoints(status), [
    (p) => p.events_per_second, (p) => p.examples_per_second,
  ]);
  const api = columns(apiPoints(status), [(p) => p.scores_per_second]);
  if (worker[0].length === 0) return [api[0], api[0].map(() => null), api[0].map(() => null), api[1]];
  if (api[0].length === 0) return [...worker, worker[0].map(() => null)];
  // Mode 2 lets a break in one clock's line stay a break where the other clock has points.
  return uPlot.join([worker, api], [[0, 2, 2], [0, 2]]);
}

/** Stretches of one release each, oldest first: {from, to, release}; `to` of the last is now. */
export function stretches(status) {
  const swaps = status.model?.swaps ?? [];
  return swaps.map((swap, i) => ({
    from: swap.time_ms,
    to: swaps[i + 1]?.time_ms ?? status.now_ms,
    release: swap.release,
  }));
}

/** Times at which the worker's snapshot number changed. */
export function snapshotTimes(status) {
  const points = workerPoints(status);
  return points
    .filter((p, i) => i > 0 && p.snapshot !== points[i - 1].snapshot)
    .map((p) => p.time_ms);
}

/** The newest value that is not missing, at or before `index`. */
export function valueAt(column, index) {
  for (let i = Math.min(index, column.length - 1); i >= 0; i -= 1) {
    if (column[i] !== undefined) return column[i];
  }
  return null;
}

/** The newest number in the column, or null. */
export function newest(column) {
  for (let i = column.length - 1; i >= 0; i -= 1) {
    if (column[i] !== null && column[i] !== undefined) return column[i];
  }
  return null;
}
