/** One live chart: title, legend with values, curves, swap markers, and what it waits for. */

import uPlot from "./vendor/uplot-1-6-32/uPlot.esm.js";
import { NONE, clock } from "./format.js";
import { newest, valueAt } from "./series.js";
import { colour } from "./theme.js";

const FONT = "11px system-ui, sans-serif";
const MARK_GAP = 44;

/** Steps of the time axis, ms. */
export const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300].map((seconds) => seconds * 1000);

/** Make an element: tag, class names, text. */
export function element(tag, classes = "", text = "") {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  if (text) made.textContent = text;
  return made;
}

/** What a chart says while it has nothing to draw. */
export function waitingNote(text) {
  const note = element("p", "waiting");
  note.append(element("span", "", text));
  return note;
}

/** Axis from zero with head room. */
export const fromZero = (u, low, high) => [0, high > 0 ? high * 1.12 : 1];

/**
 * Axis around the bulk of the values: a running measure is wild over its first few labels, and those
 * points must not flatten the rest.
 */
export function aroundBulk(u) {
  const [first, last] = u.series[0].idxs ?? [0, u.data[0].length - 1];
  const seen = u.data.slice(1)
    .flatMap((column) => column.slice(first, last + 1))
    .filter((value) => value !== null && value !== undefined)
    .sort((a, b) => a - b);
  if (seen.length === 0) return [0, 1];
  const ends = u.data.slice(1).map(newest).filter((value) => value !== null);
  const low = Math.min(seen[Math.floor(seen.length * 0.03)], ...ends);
  const high = Math.max(seen[Math.ceil(seen.length * 0.97) - 1], ...ends);
  const margin = Math.max((high - low) * 0.18, 0.002);
  return [low - margin, high + margin];
}

/** Vertical lines where the release changed, with its name beside them. */
export function drawSwaps(u, swaps, { named }) {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  const ratio = devicePixelRatio;
  let lastNamed = -Infinity;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("swap");
  ctx.lineWidth = ratio;
  ctx.font = `${10.5 * ratio}px system-ui, sans-serif`;
  ctx.textBaseline = "top";
  for (const swap of swaps) {
    const x = Math.round(u.valToPos(swap.time_ms, "x", true)) + 0.5;
    if (x < left || x > left + width) continue;
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
    if (named && x - lastNamed > MARK_GAP * ratio) {
      const room = left + width - x > MARK_GAP * ratio;
      ctx.textAlign = room ? "left" : "right";
      ctx.fillText(swap.release, x + (room ? 4 : -4) * ratio, top + 2 * ratio);
      lastNamed = x;
    }
  }
  ctx.restore();
}

function axes(valueText) {
  const line = { stroke: () => colour("grid"), width: 1 };
  const shared = { stroke: () => colour("quiet"), font: FONT };
  return [
    { ...shared, size: 26, gap: 6, space: 64, incrs: TIME_STEPS, grid: { show: false }, border: { ...line, show: true },
      ticks: { ...line, size: 4 }, values: (u, splits) => splits.map(clock) },
    { ...shared, size: 52, gap: 6, space: 34, grid: line, ticks: { show: false },
      values: (u, splits) => splits.map((v) => valueText(v, splits)) },
  ];
}

/** A chart inside `figure`, described by `spec` (see curves.js). */
export class Chart {
  constructor(figure, spec, onCursor) {
    this.spec = spec;
    this.figure = figure;
    this.swaps = [];
    this.values = [];
    this.plotBox = element("div", "plot");
    this.plotBox.tabIndex = 0;
    this.plotBox.setAttribute("role", "img");
    figure.append(this.#caption(), this.plotBox);
    this.plotBox.append(waitingNote(spec.waiting));
    this.plot = new uPlot(this.#options(onCursor), this.#nothing(), this.plotBox);
    this.plotBox.addEventListener("keydown", (event) => this.#key(event));
    this.plotBox.addEventListener("blur", () => this.plot.setCursor({ left: -10, top: -10 }, true, true));
    new ResizeObserver(() => this.#fit()).observe(this.plotBox);
  }

  /** Draw `status` over the span [from, to] (wall time, ms). */
  show(status, from, to) {
    const data = this.spec.columns(status);
    const [title, unit] = this.spec.rename?.(status) ?? [this.spec.title, this.spec.unit];
    this.title.textContent = title;
    this.unit.textContent = unit;
    this.swaps = status.model?.swaps ?? [];
    const empty = data.slice(1).every((column) => newest(column) === null);
    this.figure.dataset.empty = String(empty);
    this.plot.batch(() => {
      this.plot.setData(data, false);
      this.plot.setScale("x", { min: from, max: to });
    });
    this.#legend();
    this.plotBox.setAttribute("aria-label", this.#summary(empty));
  }

  redraw() {
    this.plot.redraw(false, true);
  }

  #nothing() {
    return [[], ...this.spec.lines.map(() => [])];
  }

  #caption() {
    const caption = element("figcaption");
    const title = element("h3");
    this.title = element("span", "", this.spec.title);
    this.unit = element("small", "quiet", this.spec.unit);
    title.append(this.title, " ", this.unit);
    const legend = element("ul", "legend");
    for (const line of this.spec.lines) {
      const item = element("li");
      const value = element("b", "", NONE);
      item.append(element("span", `swatch ${line.colour}${line.dash ? " dashed" : ""}`), line.name, " ", value);
      legend.append(item);
      this.values.push(value);
    }
    caption.append(title, legend);
    return caption;
  }

  #options(onCursor) {
    const lines = this.spec.lines.map((line) => ({
      label: line.name, stroke: () => colour(line.colour), width: line.dash ? 1.5 : 2,
      dash: line.dash ? [5, 4] : undefined, points: { show: false },
    }));
    return {
      width: Math.max(this.plotBox.clientWidth, 50), height: this.plotBox.clientHeight || 200,
      ms: 1, legend: { show: false }, padding: [8, 26, 0, 0],
      scales: { x: { time: true }, y: { range: this.spec.range } },
      axes: axes(this.spec.axisText), series: [{}, ...lines],
      bands: this.spec.fill
        ? [{ series: [1, 2], fill: () => colour("gain"), dir: 0 }] : undefined,
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "tidemill" }, points: { size: 7 } },
      hooks: {
        drawClear: [(u) => drawSwaps(u, this.swaps, { named: true })],
        setCursor: [(u) => { this.#legend(); onCursor(u.cursor.idx == null ? null : u.data[0][u.cursor.idx]); }],
      },
    };
  }

  #legend() {
    if (!this.plot) return;
    const index = this.plot.cursor.idx;
    this.spec.lines.forEach((line, i) => {
      const column = this.plot.data[i + 1];
      this.values[i].textContent = line.text(index == null ? newest(column) : valueAt(column, index));
    });
  }

  #summary(empty) {
    if (empty) return `${this.title.textContent}: ${this.spec.waiting}`;
    const parts = this.spec.lines.map((line, i) => `${line.name} ${line.text(newest(this.plot.data[i + 1]))}`);
    return `${this.title.textContent}, now: ${parts.join(", ")}. Arrow keys read earlier values.`;
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const times = this.plot.data[0];
    if (step === undefined || times.length === 0) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(times.length - 1, (this.plot.cursor.idx ?? times.length - 1) + step));
    this.plot.setCursor({ left: this.plot.valToPos(times[index], "x"), top: 1 }, true, true);
  }

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.plotBox;
    if (width > 0 && height > 0) this.plot.setSize({ width, height });
  }
}
