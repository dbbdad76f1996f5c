// Curves: the series that was sent, and what the result says of it.

import { colour, svg } from "./dom.js";

const WIDTH = 900, HEIGHT = 420, LEFT = 56, RIGHT = 16, TOP = 30, BOTTOM = 34;
/** Points of a curve and curves of a chart, at most. */
const POINTS = 1500, CURVES = 6;
/** Of the past is shown so many times what is foretold. */
const PAST = 4;

const numberOf = (cell) => (cell === undefined || cell.trim() === "" ? NaN : Number(cell));

/** Columns of numbers: `{name, values}`; the first column counts rows or says the time. */
function columnsOf([head, ...rows]) {
  return head.slice(1).map((name, place) => ({ name, values: rows.map((row) => numberOf(row[place + 1])) }))
    .filter(({ values }) => values.some(Number.isFinite));
}

const isFlags = ({ values }) => values.every((value) => value === 0 || value === 1);

/**
 * What is to be drawn: `{labels, curves: {name, values, from, dashed}[], marks}`.
 * @param {string[][]} sent rows of the CSV that was sent
 * @param {string[][] | null} result rows of the CSV in the answer
 */
export function plotOf(sent, result) {
  const past = columnsOf(sent), pastLabels = sent.slice(1).map((row) => row[0]);
  if (!result) {
    const skip = Math.max(0, pastLabels.length - POINTS);
    const curves = past.slice(0, CURVES).map(({ name, values }) => ({ name, values: values.slice(skip), from: 0 }));
    return { labels: pastLabels.slice(skip), marks: [], curves };
  }
  const found = columnsOf(result), labels = result.slice(1).map((row) => row[0]);
  const names = new Set(past.map(({ name }) => name));
  if (found.length && found.every((column) => isFlags(column) && !names.has(column.name))) {
    const start = Math.max(0, pastLabels.indexOf(labels[0]) >= 0 ? pastLabels.lastIndexOf(labels[0]) : pastLabels.length - labels.length);
    const curves = past.slice(0, CURVES).map(({ name, values }) => ({ name, values: values.slice(start, start + labels.length), from: 0 }));
    const marks = labels.map((_, place) => place).filter((place) => found.some(({ values }) => values[place] === 1));
    return { labels, curves, marks };
  }
  const shown = Math.min(pastLabels.length, Math.max(48, PAST * labels.length), POINTS);
  const same = past.filter(({ name }) => found.some((column) => column.name === name));
  const curves = (same.length ? same : past).slice(0, CURVES).map(({ name, values }) => ({ name, values: values.slice(-shown), from: 0 }));
  for (const { name, values } of found.slice(0, CURVES)) curves.push({ name: `${name}, result`, values, from: shown, dashed: true });
  return { labels: [...pastLabels.slice(-shown), ...labels], curves, marks: [] };
}

function ticks(low, high) {
  const rough = (high - low) / 5 || 1, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * unit).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high && found.length < 20; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

function path({ values, from }, x, y) {
  const stride = Math.ceil(values.length / POINTS);
  let pen = "M", text = "";
  values.forEach((value, place) => {
    if (place % stride) return;
    if (!Number.isFinite(value)) pen = "M";
    else {
      text += `${pen}${x(from + place).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
    }
  });
  return text;
}

/**
 * A chart as an SVG element.
 * @param {ReturnType<typeof plotOf>} plot
 * @param {(words: string, event?: PointerEvent) => void} say shows words at the pointer
 */
export function chart({ labels, curves, marks }, say) {
  const all = curves.flatMap(({ values }) => values).filter(Number.isFinite);
  const low = all.reduce((a, b) => Math.min(a, b), Infinity), high = all.reduce((a, b) => Math.max(a, b), -Infinity);
  const span = high - low || 1, last = Math.max(1, labels.length - 1);
  const x = (place) => LEFT + ((WIDTH - LEFT - RIGHT) * place) / last;
  const y = (value) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * (value - low)) / span;
  const words = `Curves of ${curves.map(({ name }) => name).join(", ")}: ${labels.length} points`
    + (marks.length ? `, ${marks.length} of them marked` : "");
  const root = svg("svg", { class: "chart", role: "img", "aria-label": words, viewBox: `0 0 ${WIDTH} ${HEIGHT}` });
  for (const value of all.length ? ticks(low, high) : []) {
    root.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, String(value)));
  }
  for (const place of marks) {
    const at = { x: x(place) - 2, y: TOP, width: 4, height: HEIGHT - TOP - BOTTOM };
    root.append(svg("rect", { class: "mark", ...at, fill: colour(1), opacity: ".45" }));
  }
  root.append(svg("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }));
  for (const [place, anchor] of [[0, "start"], [labels.length - 1, "end"]]) {
    root.append(svg("text", { x: x(place), y: HEIGHT - 12, "text-anchor": anchor }, labels[place] ?? ""));
  }
  let at = LEFT;
  curves.forEach((curve, index) => {
    const ink = colour(index);
    root.append(svg("path", { class: "series", d: path(curve, x, y), stroke: ink, "stroke-dasharray": curve.dashed ? "7 4" : null }),
      svg("line", { x1: at, x2: at + 18, y1: 14, y2: 14, stroke: ink, "stroke-width": 3, "stroke-dasharray": curve.dashed ? "7 4" : null }),
      svg("text", { x: at + 24, y: 18 }, curve.name));
    at += 40 + 7 * curve.name.length;
  });
  root.addEventListener("pointermove", (event) => {
    const matrix = root.getScreenCTM();
    if (!matrix) return;
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    const place = Math.min(labels.length - 1, Math.max(0, Math.round(((point.x - LEFT) / (WIDTH - LEFT - RIGHT)) * last)));
    const values = curves.map(({ name, values: own, from }) => [name, own[place - from]]).filter(([, value]) => Number.isFinite(value));
    say([labels[place], ...values.map(([name, value]) => `${name} ${value}`)].join(" · "), event);
  });
  root.addEventListener("pointerleave", () => say(""));
  return root;
}
