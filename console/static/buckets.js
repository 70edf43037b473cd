/** Quality by the time of prediction: solid where the labels have come, hollow where they still do. */

import { element, waitingNote } from "./chart.js";
import { count, eventTime, measure, percent, shortTime } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 58, right: 14, top: 10, strip: 26, bottom: 22, gap: 12 };
const LINES = 4;
const ROLES = ["service", "release"];
const LABEL_WIDTH = 96;

/** The chart inside `figure`. */
export class BucketChart {
  constructor(figure) {
    this.figure = figure;
    this.title = element("h3", "", "By time of prediction");
    this.unit = element("small", "quiet");
    this.title.append(" ", this.unit);
    this.values = ROLES.map(() => element("b"));
    this.plot = element("div", "plot");
    this.plot.setAttribute("role", "img");
    this.plot.append(waitingNote("Waiting for the first labels"));
    this.svg = null;
    const caption = element("figcaption");
    caption.append(this.title, this.#legend());
    figure.append(caption, this.plot);
    new ResizeObserver(() => this.redraw()).observe(this.plot);
  }

  /** Draw the buckets of `found` (or nothing) by the measure `shown`. */
  show(found, shown) {
    this.buckets = found?.buckets ?? [];
    this.shown = shown;
    this.unit.textContent = `${shown.name}, ${shown.higher ? "higher" : "lower"} is better`;
    const mature = this.buckets.filter((bucket) => !bucket.young && !bucket.partial);
    const last = mature.at(-1) ?? this.buckets.findLast((bucket) => !bucket.young);
    ROLES.forEach((role, i) => {
      this.values[i].textContent = measure(last?.roles[role]?.[shown.key]);
    });
    this.figure.dataset.empty = String(this.buckets.length === 0);
    this.plot.setAttribute("aria-label", this.#summary(last));
    this.redraw();
  }

  redraw() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (!this.shown || width === 0 || height === 0) return;
    this.svg?.remove();
    this.svg = drawn("svg", { width, height, class: "buckets" });
    if (this.buckets.length > 0) this.#draw(width, height);
    this.plot.append(this.svg);
  }

  #legend() {
    const list = element("ul", "legend");
    const names = ["service", "frozen release"];
    ROLES.forEach((role, i) => {
      const item = element("li");
      item.append(element("span", `swatch ${role}${role === "release" ? " dashed" : ""}`), names[i], " ", this.values[i]);
      list.append(item);
    });
    const young = element("li");
    young.append(element("span", "ring"), "hollow: labels still missing");
    list.append(young);
    return list;
  }

  #summary(last) {
    if (this.buckets.length === 0) return "Quality by time of prediction: waiting for the first labels";
    const young = this.buckets.filter((bucket) => bucket.young).length;
    const said = ROLES.map((role) => `${role} ${measure(last?.roles[role]?.[this.shown.key])}`);
    return `${this.shown.name} by time of prediction, ${this.buckets.length} buckets, ${young} of them young. `
      + `Newest mature one: ${said.join(", ")}`;
  }

  #draw(width, height) {
    const first = this.buckets[0].from_ms;
    const end = this.buckets.at(-1).to_ms;
    const bottom = height - MARGIN.bottom - MARGIN.strip - MARGIN.gap;
    const x = (ms) => MARGIN.left + (ms - first) / (end - first) * (width - MARGIN.left - MARGIN.right);
    const [low, high] = this.#range();
    const y = (value) => bottom - (value - low) / (high - low) * (bottom - MARGIN.top);
    this.#grid(low, high, y, width);
    this.#times(first, end, x, height);
    for (const bucket of this.buckets) this.#maturity(bucket, x, height);
    for (const role of ROLES.toReversed()) this.#role(role, x, y);
    for (const bucket of this.buckets) this.#hover(bucket, x, height);
  }

  #value(bucket, role) {
    return bucket.roles[role]?.[this.shown.key] ?? null;
  }

  /** Around the mature values: a few early labels of a young bucket must not flatten the rest. */
  #range() {
    const of = (buckets) => buckets.flatMap((bucket) => ROLES.map((role) => this.#value(bucket, role)))
      .filter((value) => value !== null);
    const mature = of(this.buckets.filter((bucket) => !bucket.young));
    const values = mature.length > 0 ? mature : of(this.buckets);
    if (values.length === 0) return [0, 1];
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = Math.max((high - low) * 0.15, 0.004);
    return [low - margin, high + margin];
  }

  #grid(low, high, y, width) {
    const step = roundStep((high - low) / LINES);
    for (let value = Math.ceil(low / step) * step; value <= high; value += step) {
      const at = Math.round(y(value)) + 0.5;
      this.svg.append(drawn("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: at, y2: at }));
      this.#text(MARGIN.left - 8, at + 4, value.toFixed(step < 0.01 ? 3 : 2), "end");
    }
  }

  #times(first, end, x, height) {
    const shown = Math.max(1, Math.floor((x(end) - x(first)) / LABEL_WIDTH));
    const every = Math.max(1, Math.ceil(this.buckets.length / shown));
    this.buckets.forEach((bucket, i) => {
      if (i % every === 0 && x(bucket.from_ms) + LABEL_WIDTH < x(end)) {
        this.#text(x(bucket.from_ms), height - 6, shortTime(bucket.from_ms), "start");
      }
    });
    this.#text(MARGIN.left - 8, height - MARGIN.bottom - 8, "labels in", "end");
  }

  #maturity(bucket, x, height) {
    const left = x(bucket.from_ms) + 1;
    const width = Math.max(x(bucket.to_ms) - left - 1, 1);
    const top = height - MARGIN.bottom - MARGIN.strip;
    const share = bucket.maturity ?? 0;
    const full = MARGIN.strip - 2;
    this.svg.append(
      drawn("rect", { class: "track", x: left, y: top, width, height: full }),
      drawn("rect", {
        class: bucket.young ? "share young" : "share", x: left, width,
        y: top + full * (1 - share), height: full * share,
      }),
    );
  }

  #role(role, x, y) {
    const points = this.buckets
      .map((bucket) => ({ bucket, value: this.#value(bucket, role) }))
      .filter(({ value }) => value !== null)
      .map(({ bucket, value }) => ({
        young: bucket.young || bucket.partial, x: x((bucket.from_ms + bucket.to_ms) / 2), y: y(value),
      }));
    points.slice(1).forEach((point, i) => {
      const before = points[i];
      const faint = point.young || before.young;
      this.svg.append(drawn("line", {
        class: `${role}${faint ? " young" : ""}`, x1: before.x, y1: before.y, x2: point.x, y2: point.y,
      }));
    });
    for (const point of points) {
      this.svg.append(drawn("circle", {
        class: `${role}${point.young ? " young" : ""}`, cx: point.x, cy: point.y, r: role === "service" ? 3.5 : 2.5,
      }));
    }
  }

  /** The whole column answers to the pointer, so that small circles need not be hit. */
  #hover(bucket, x, height) {
    const column = drawn("rect", {
      class: "column", x: x(bucket.from_ms), y: 0, width: x(bucket.to_ms) - x(bucket.from_ms),
      height: height - MARGIN.bottom,
    });
    const said = ROLES.map((role) => `${role} ${measure(this.#value(bucket, role))}`);
    const state = bucket.partial ? ", begun before this worker" : bucket.young ? ", young" : "";
    const title = drawn("title", {});
    title.textContent = `${eventTime(bucket.from_ms)}\n${count(bucket.examples)} labels, `
      + `${bucket.maturity == null ? "share not known" : `${percent(bucket.maturity)} of them in`}${state}\n${said.join(", ")}`;
    column.append(title);
    this.svg.append(column);
  }

  #text(x, y, text, anchor) {
    const made = drawn("text", { x, y, "text-anchor": anchor });
    made.textContent = text;
    this.svg.append(made);
  }
}

/** The shortest of 1, 2 or 5 times a power of ten that is no shorter. */
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= least * 0.999);
}

function drawn(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
