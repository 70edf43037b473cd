/** Numbers and times as the page writes them; a missing value is always an en dash. */

export const NONE = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const clockParts = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const eventParts = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit",
  timeZone: "UTC",
});

const shortParts = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZone: "UTC",
});

const missing = (value) => value === null || value === undefined || Number.isNaN(value);

/** 12,345; from a million on 1.23M. */
export function count(value) {
  if (missing(value)) return NONE;
  return Math.abs(value) >= 1e6 ? compact.format(value) : whole.format(value);
}

/** A rate: one decimal below ten, none above. */
export function rate(value) {
  if (missing(value)) return NONE;
  return value > 0 && value < 9.95 ? value.toFixed(1) : count(value);
}

/** A probability or quality measure, four decimals. */
export const measure = (value) => (missing(value) ? NONE : value.toFixed(4));

/** A share of one as per cent, whole. */
export const percent = (value) => (missing(value) ? NONE : `${Math.round(value * 100)} %`);

/** The same with its sign, and a true minus. */
export function signed(value) {
  if (missing(value)) return NONE;
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(4);
}

/** A duration given in milliseconds, with its unit. */
export function duration(ms) {
  if (missing(ms)) return NONE;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 120000) return `${Math.round(ms / 1000)} s`;
  if (ms < 7200000) return `${Math.round(ms / 60000)} min`;
  return `${Math.round(ms / 3600000)} h`;
}

/** How long ago `then` was; never negative, because two clocks may differ a little. */
export const ago = (then, now) =>
  missing(then) ? NONE : now - then < 1000 ? "just now"
    : `${duration(Math.round((now - then) / 1000) * 1000).replace(".0 s", " s")} ago`;

/** Wall time of day, local. */
export const clock = (ms) => (missing(ms) ? NONE : clockParts.format(ms));

/** The stream's own time: 14 May 2013, 09:35 UTC. */
export const eventTime = (ms) => (missing(ms) ? NONE : `${eventParts.format(ms)} UTC`);

/** The stream's own time on an axis: 14 May, 09:35. */
export const shortTime = (ms) => (missing(ms) ? NONE : shortParts.format(ms));

/** A feature's value, four significant digits. */
export function feature(value) {
  if (missing(value)) return NONE;
  return typeof value === "number" ? short.format(value).replace("-", "−") : String(value);
}

/** `confident_wrong` as words. */
export const words = (name) => String(name ?? NONE).replaceAll("_", " ");
