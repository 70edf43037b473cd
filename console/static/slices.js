/** The table of slices: service against frozen release for each value of a declared field. */

import { element } from "./chart.js";
import { NONE, count, measure, signed, words } from "./format.js";

const by = (id) => document.getElementById(id);
let chosen = null;
let last = null;

/** Show the slices by one measure: {key, name, higher}. */
export function showSlices(slices, shown) {
  last = [slices, shown];
  const fields = [...new Set(slices.map((slice) => slice.field))];
  if (!fields.includes(chosen)) chosen = fields[0] ?? null;
  showFields(fields);
  by("slices-empty").hidden = fields.length > 0;
  by("slices-table").hidden = fields.length === 0;
  const rows = slices.filter((slice) => slice.field === chosen);
  by("slices-unit").textContent = fields.length > 0 ? `${shown.name}, newest labels` : "";
  const most = Math.max(...rows.map((slice) => Math.abs(gap(slice, shown) ?? 0)), 1e-9);
  by("slices-rows").replaceChildren(...rows.map((slice) => row(slice, shown, most)));
}

function gap(slice, { key }) {
  const [service, release] = ["service", "release"].map((role) => slice.roles[role]?.[key]);
  return service == null || release == null ? null : service - release;
}

function showFields(fields) {
  const box = by("slice-fields");
  box.hidden = fields.length < 2;
  const names = fields.join("\u0000");
  if (box.dataset.names === names) return;
  box.dataset.names = names;
  box.replaceChildren(element("legend", "unseen", "Slices by"), ...fields.map((field) => {
    const label = element("label");
    const radio = element("input");
    Object.assign(radio, { type: "radio", name: "slice", value: field, checked: field === chosen });
    radio.addEventListener("change", () => {
      chosen = field;
      showSlices(...last);
    });
    label.append(radio, element("span", "", words(field)));
    return label;
  }));
}

function row(slice, shown, most) {
  const line = element("tr");
  const name = element("th", slice.value === "" ? "quiet" : "", slice.value === "" ? "all others" : slice.value);
  name.scope = "row";
  const found = ["service", "release"].map((role) => slice.roles[role]?.[shown.key]);
  const between = gap(slice, shown);
  const cell = element("td", "gap");
  const text = element("span", "", between === null ? NONE : signed(between));
  const better = between !== null && (shown.higher ? between > 0 : between < 0);
  text.dataset.tone = between === null || Math.abs(between) < 5e-5 ? "even" : better ? "good" : "poor";
  const bar = element("span", `bar-of ${better ? "good" : "poor"}`);
  bar.style.setProperty("--size", `${Math.abs(between ?? 0) / most * 42}%`);
  cell.append(bar, text);
  line.append(name, element("td", "", count(slice.examples)), ...found.map((value) => element("td", "", measure(value))), cell);
  return line;
}
