// The views of a result beside the picture, and the tabs that they are behind.

import { abridged } from "./reader.js";
import { colour, copy, el, percent, svg, swatch } from "./dom.js";
import { csvRows, rowTable, tablesIn } from "./tables.js";
import { pictureAddress } from "./shapes.js";

/** Entries of a list, and tables, that are shown at most. */
const MOST_FOUND = 3000, MOST_TABLES = 100;

/** Tabs as WAI-ARIA describes them: one stop of the Tab key, arrows between them. */
export class Tabs {
  constructor(bar, panels) {
    Object.assign(this, { bar, panels, chosen: null });
    bar.addEventListener("keydown", (event) => this.key(event));
  }

  /** Show views: `[{id, title, panel}]`. The one that was chosen before stays chosen if it is there. */
  show(views) {
    this.bar.replaceChildren(...views.map(({ id, title }) => el("button", {
      type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}`, click: () => this.choose(id) }, title)));
    this.panels.replaceChildren(...views.map(({ id, panel }) => el("div", {
      role: "tabpanel", id: `panel-${id}`, class: "panel", "aria-labelledby": `tab-${id}`, tabindex: "0" }, panel)));
    this.ids = views.map(({ id }) => id);
    this.choose(this.ids.includes(this.chosen) ? this.chosen : this.ids[0]);
  }

  choose(id) {
    this.chosen = id;
    for (const tab of this.bar.children) {
      const on = tab.id === `tab-${id}`;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
    }
    for (const panel of this.panels.children) panel.hidden = panel.id !== `panel-${id}`;
  }

  key(event) {
    const place = this.ids?.indexOf(this.chosen) ?? -1, count = this.ids?.length ?? 0;
    const next = { ArrowRight: place + 1, ArrowLeft: place - 1 + count, Home: 0, End: count - 1 }[event.key];
    if (next === undefined || !count) return;
    event.preventDefault();
    this.choose(this.ids[next % count]);
    this.bar.children[next % count].focus();
  }
}

/**
 * The list of everything with a place.
 * @param {{name: string, shapes: object[]}[]} layers
 * @param {(shape: object) => number} paint
 * @param {(id: number | null, pick: boolean) => void} onPoint somebody points at an entry, or picks it
 */
export class FoundList {
  constructor(layers, paint, onPoint) {
    this.buttons = [];
    this.element = el("div", {});
    let id = 0;
    for (const layer of layers) {
      const list = el("ul", { class: "found" });
      for (const shape of layer.shapes) {
        if (id < MOST_FOUND) list.append(el("li", {}, this.entry(shape, id, paint, onPoint)));
        id += 1;
      }
      this.element.append(el("h2", {}, `${layer.name} (${layer.shapes.length})`), list);
    }
    if (id > MOST_FOUND) this.element.append(el("p", { class: "help" }, `${id - MOST_FOUND} more are drawn and in the JSON.`));
  }

  entry(shape, id, paint, onPoint) {
    const words = shape.text || shape.label || `#${id + 1}`, kind = shape.text && shape.label ? shape.label : "";
    const button = el("button", {
      type: "button", mouseenter: () => onPoint(id, false), mouseleave: () => onPoint(null, false),
      focus: () => onPoint(id, false), blur: () => onPoint(null, false), click: () => onPoint(id, true),
    }, swatch(colour(paint(shape))), el("span", { class: "what" }, words),
    kind && el("span", { class: "kind" }, kind), el("span", { class: "score" }, percent(shape.score)));
    this.buttons[id] = button;
    return button;
  }

  /** Mark the entry of a shape, or none. */
  mark(id) {
    this.marked?.classList.remove("on");
    this.marked = id === null ? undefined : this.buttons[id];
    this.marked?.classList.add("on");
    this.marked?.scrollIntoView({ block: "nearest" });
  }
}

/** Names with their scores. */
export function classesPanel(classes) {
  const list = el("ol", { class: "legend" });
  for (const { label, score } of classes) {
    const meter = el("meter", { class: "meter", min: "0", max: "1", value: score, "aria-label": label });
    list.append(el("li", {}, el("span", {}, label), el("span", { class: "score" }, percent(score)), meter));
  }
  return list;
}

/** What of a picture each label of a map has. */
export function sharesPanel(shares) {
  const list = el("ul", { class: "legend" });
  for (const { label, share } of shares) {
    const ink = label ? colour(label - 1) : "transparent";
    const name = el("span", {}, label ? `Label ${label}` : "Background (0)");
    list.append(el("li", {}, swatch(ink), name, el("span", { class: "score" }, percent(share))));
  }
  return list;
}

const wrapped = (table) => el("div", { class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Table" }, table);

/** Tables of a page, made of the HTML in the result. */
export function tablesPanel(tables) {
  const shown = tables.slice(0, MOST_TABLES).flatMap(tablesIn);
  return el("div", {}, ...shown.map(wrapped));
}

/** CSVs of a result as tables. */
export const seriesPanel = (csvs) => el("div", {}, ...csvs.map((text) => wrapped(rowTable(csvRows(text), "Result"))));

/** Pictures that the server drew. */
export const picturesPanel = (pictures) => el("div", { class: "pictures" }, ...pictures.map(({ name, text }) =>
  el("figure", {}, el("figcaption", { class: "help" }, name),
    el("img", { src: pictureAddress(text), alt: `Drawn by the server: ${name}` }))));

/** Where the time went: bars, and the same as numbers. */
export function timingsPanel(timings, ms) {
  const total = Math.max(ms, timings.reduce((sum, each) => sum + each.ms, 0)) || 1;
  const bars = svg("svg", { class: "bars", viewBox: "0 0 1000 20", preserveAspectRatio: "none", "aria-hidden": "true" });
  const table = el("table", { class: "numbers" }, el("caption", {}, "Milliseconds, as the server measured them"),
    el("tr", {}, el("th", { scope: "col" }, "step"), el("th", { scope: "col" }, "ms")));
  let left = 0;
  timings.forEach(({ name, ms: own }, index) => {
    const width = (1000 * own) / total, ink = colour(index);
    bars.append(svg("rect", { x: left, width, height: 20, fill: ink }));
    left += width;
    table.append(el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, own.toFixed(2))));
  });
  table.append(el("tr", {}, el("th", { scope: "row" }, "request as this page saw it"), el("td", {}, ms.toFixed(1))));
  return el("div", {}, bars, el("p", { class: "help" }, "Steps of pages that run side by side may overlap."), table);
}

const codeOf = (title, text) => {
  const button = el("button", { type: "button", click: () => copy(button, text) }, `Copy ${title}`);
  const code = el("pre", { tabindex: "0", role: "region", "aria-label": title }, el("code", {}, text));
  return [el("div", { class: "row" }, el("h2", {}, title), button), code];
};

/** The request as commands. */
export const codePanel = (curl, python) => el("div", {}, ...codeOf("curl", curl), ...codeOf("Python", python),
  el("p", { class: "help" }, "The file is taken from the folder where the command runs."));

/** The answer, shortened for reading, and whole to download. */
export function jsonPanel({ answer, bytes }) {
  const text = abridged(answer), address = URL.createObjectURL(new Blob([bytes], { type: "application/json" }));
  const button = el("button", { type: "button", click: () => copy(button, new TextDecoder().decode(bytes)) }, "Copy all");
  const link = el("a", { href: address, download: "answer.json", class: "button" }, "Download all");
  const size = el("span", { class: "help" }, `${bytes.length} bytes; long values are shortened here`);
  const code = el("pre", { tabindex: "0", role: "region", "aria-label": "JSON" }, el("code", {}, text));
  return { panel: el("div", {}, el("div", { class: "row" }, button, link, size), code), address };
}
