/** The versions' track: which release served when, and a tick for every snapshot. */

import uPlot from "./vendor/uplot-1-6-32/uPlot.esm.js";
import { TIME_STEPS, drawSwaps, element, waitingNote } from "./chart.js";
import { ago, clock } from "./format.js";
import { snapshotTimes, stretches } from "./series.js";
import { colour } from "./theme.js";

const FONT = "11px system-ui, sans-serif";
const LISTED = 4;
const TICK_GAP = 3;

/** The track inside `figure`; it shares the charts' cursor. */
export class Track {
  constructor(figure) {
    this.figure = figure;
    this.status = null;
    this.note = element("p", "quiet note");
    this.plotBox = element("div", "plot");
    this.plotBox.setAttribute("role", "img");
    const caption = element("figcaption");
    caption.append(element("h3", "", "Versions and swaps"), this.note);
    this.list = element("ol", "swaps");
    figure.append(caption, this.plotBox, this.list);
    this.plotBox.append(waitingNote("Waiting for the first release"));
    this.plot = new uPlot(this.#options(), [[], []], this.plotBox);
    new ResizeObserver(() => this.#fit()).observe(this.plotBox);
  }

  show(status, from, to) {
    this.status = status;
    const swaps = status.model?.swaps ?? [];
    this.figure.dataset.empty = String(swaps.length === 0);
    const times = (status.worker?.series ?? []).map((point) => point.time_ms);
    this.plot.batch(() => {
      this.plot.setData([times, times.map(() => 0)], false);
      this.plot.setScale("x", { min: from, max: to });
    });
    this.#write(status, swaps);
  }

  redraw() {
    this.plot.redraw(false, true);
  }

  #write(status, swaps) {
    const changes = swaps.length - 1;
    const text = changes < 1 ? "No swap yet" : changes === 1 ? "1 swap" : `${changes} swaps`;
    this.note.textContent = swaps.length ? `${text}, a tick for each snapshot` : "";
    this.plotBox.setAttribute("aria-label", swaps.length ? `${text}; listed below` : "Waiting for the first release");
    this.list.replaceChildren(...swaps.slice(-LISTED).reverse().map((swap) => {
      const item = element("li");
      item.append(element("b", "", swap.release), ` from ${clock(swap.time_ms)}`,
        element("span", "quiet", `, ${ago(swap.time_ms, status.now_ms)}`));
      return item;
    }));
  }

  #options() {
    const line = { stroke: () => colour("grid"), width: 1 };
    return {
      width: Math.max(this.plotBox.clientWidth, 50), height: this.plotBox.clientHeight || 70,
      ms: 1, legend: { show: false }, padding: [4, 26, 0, 26],
      scales: { x: { time: true }, y: { range: [0, 1] } }, series: [{}, { show: false }],
      axes: [
        { stroke: () => colour("quiet"), font: FONT, size: 24, gap: 5, space: 64, incrs: TIME_STEPS, grid: { show: false },
          ticks: { ...line, size: 4 }, values: (u, splits) => splits.map(clock) },
        { show: false },
      ],
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "tidemill" }, points: { show: false } },
      hooks: { draw: [(u) => this.#draw(u)] },
    };
  }

  #draw(u) {
    if (this.status === null) return;
    const all = stretches(this.status);
    const { ctx } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    all.forEach((stretch, i) => this.#stretch(u, stretch, i === all.length - 1));
    this.#ticks(u);
    ctx.restore();
    drawSwaps(u, this.status.model.swaps, { named: false });
  }

  #stretch(u, { from, to, release }, isNow) {
    const { ctx } = u;
    const { left, top, width, height } = u.bbox;
    const ratio = devicePixelRatio;
    const x0 = Math.max(left, u.valToPos(from, "x", true));
    const x1 = Math.min(left + width, u.valToPos(to, "x", true));
    if (x1 - x0 < 1) return;
    ctx.fillStyle = colour(isNow ? "band-now" : "band");
    ctx.fillRect(x0, top, x1 - x0, height);
    ctx.font = `600 ${12 * ratio}px system-ui, sans-serif`;
    if (ctx.measureText(release).width + 16 * ratio > x1 - x0) return;
    ctx.fillStyle = colour("ink");
    ctx.textAlign = "left";
    ctx.textBaseline = "middle";
    ctx.fillText(release, x0 + 8 * ratio, top + height * 0.42);
  }

  #ticks(u) {
    const { ctx } = u;
    const { top, height } = u.bbox;
    const ratio = devicePixelRatio;
    ctx.fillStyle = colour("service");
    let last = -Infinity;
    for (const time of snapshotTimes(this.status)) {
      const x = Math.round(u.valToPos(time, "x", true));
      // Closer than this they would run together into a bar.
      if (x - last < TICK_GAP * ratio) continue;
      last = x;
      ctx.fillRect(x, top + height - 6 * ratio, ratio, 6 * ratio);
    }
  }

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.plotBox;
    if (width > 0 && height > 0) this.plot.setSize({ width, height });
  }
}
