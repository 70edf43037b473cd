/** The colours that canvases need, read from the style sheet so that they are said once. */

const NAMES = [
  "ink", "quiet", "grid", "surface", "service", "release", "gain", "swap", "band", "band-now",
  "one", "two", "three", "four", "five",
];

let palette = null;

/** The colour called `name` in the scheme now in force. */
export function colour(name) {
  if (palette === null) {
    const style = getComputedStyle(document.documentElement);
    palette = Object.fromEntries(NAMES.map((n) => [n, style.getPropertyValue(`--${n}`).trim()]));
  }
  return palette[name];
}

/** Call `redraw` whenever the reader's system goes from light to dark or back. */
export function onSchemeChange(redraw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    palette = null;
    redraw();
  });
}
