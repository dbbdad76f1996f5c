// The page: one request at a time, and what came of it.

import { ask, fileRequest, readServer, takesRaw } from "./api.js";
import { chart, plotOf } from "./chart.js";
import { chatPanel, questionsOf } from "./chat.js";
import { byId, colour, el, swatch } from "./dom.js";
import { listenForFiles, pictureOf, showExamples, sizeOf } from "./input.js";
import { mapPicture, maskPicture } from "./masks.js";
import {
  classesPanel, codePanel, FoundList, jsonPanel, picturesPanel, seriesPanel, sharesPanel, tablesPanel, Tabs, timingsPanel,
} from "./panels.js";
import { Parameters } from "./parameters.js";
import { gather, pageSize, pagesOf, pictureAddress } from "./shapes.js";
import { curlFile, pythonFile } from "./snippets.js";
import { Stage, turned } from "./stage.js";
import { csvRows } from "./tables.js";

const KEY = "playground-key", THEME = "playground-theme";
const state = { server: null, operation: null, file: null, running: null, outcome: null, page: 0, used: [] };
const parameters = new Parameters(byId("fields"));
const tabs = new Tabs(byId("tabs"), byId("panels"));
let list = null;
const stage = new Stage(byId("stage"), byId("tip"), (id) => { stage.mark(id); list?.mark(id); });

function say(words, bad = false) {
  byId("status").classList.toggle("bad", bad);
  byId("status").textContent = words;
}

/** Addresses of blobs live as long as what is shown. */
const keep = (address) => {
  if (address?.startsWith("blob:")) state.used.push(address);
  return address;
};
const forget = () => state.used.splice(0).forEach((address) => URL.revokeObjectURL(address));

// --- what is asked

function chooseOperation() {
  state.operation = state.server.operations[byId("operation").selectedIndex];
  parameters.show(state.operation, state.server.document);
  byId("parameters").hidden = !state.operation.fields.length;
  byId("file").accept = state.operation.media.join(",");
  byId("examples").hidden = !state.operation.media.some((media) => media.startsWith("image/")) || !byId("examples").children.length;
  ready();
}

function takeFile(file) {
  state.file = file;
  byId("file-name").textContent = `${file.name}, ${Math.max(1, Math.round(file.size / 1024))} KB`;
  ready();
}

function ready() {
  const { file, operation } = state, wrong = file && operation && !takesRaw(operation, file.type);
  byId("run").disabled = !file || !operation;
  if (wrong) say(`${operation.path} takes ${operation.media.join(" and ")}; it may refuse this file.`);
  else if (!state.running) say("");
}

async function run(event) {
  event.preventDefault();
  if (state.running) {
    state.running.abort();
    return;
  }
  const { operation, file } = state;
  if (!operation || !file) return;
  let given = null;
  try {
    given = parameters.values();
  } catch (fault) {
    say(fault.message, true);
    return;
  }
  state.running = new AbortController();
  byId("run").textContent = "Cancel";
  byId("results").setAttribute("aria-busy", "true");
  say("Running…");
  try {
    const picture = await pictureOf(file);
    // What the browser cannot show, the server draws.
    if (operation.pictures && !("visualize" in given)) given.visualize = !picture && !file.type.startsWith("text/");
    const answer = await ask(fileRequest(operation, file, given), byId("key").value, state.running.signal);
    forget();
    keep(picture?.address);
    state.outcome = { operation, file, given, picture, answer, pages: pagesOf(answer.result), sent: null, chat: null };
    if (file.type === "text/csv") state.outcome.sent = csvRows(await file.text());
    await showPage(0);
    say(`Done in ${Math.round(answer.ms)} ms. ${summary(state.outcome.found)}`);
  } catch (fault) {
    if (fault.name === "AbortError") say("Cancelled");
    else say(fault.message, true);
    if (fault.status === 401) byId("key").focus();
  }
  state.running = null;
  byId("run").textContent = "Run";
  byId("results").removeAttribute("aria-busy");
}

// --- what came of it

const summary = ({ layers, maps, classes, tables, csvs }) => [
  ...layers.map(({ name, shapes }) => `${name}: ${shapes.length}`),
  classes.length && `best: ${classes[0].label}`, maps.length && "a label map",
  tables.length && `tables: ${tables.length}`, csvs.length && "a series",
].filter(Boolean).join(", ") || "Nothing was found.";

/** Colours by label where there are several labels, else by layer. */
function painter(layers) {
  const places = new Map();
  layers.forEach(({ name, shapes }) => shapes.forEach((shape) => {
    const key = shape.label ?? `\0${name}`;
    shape.ink = key;
    if (!places.has(key)) places.set(key, places.size);
  }));
  return (shape) => places.get(shape.ink);
}

/** The picture of a page: the file, the page that the server sends, or any that it drew. */
async function backdrop({ picture, pages, answer }, index, found) {
  if (picture && pages.length === 1) return { ...picture, angle: found.angle };
  const page = pages[index], sent = page.inputImage ?? found.pictures[0]?.text;
  const address = sent ? pictureAddress(sent) : null;
  const size = pageSize(answer.result, index) ?? (address && await sizeOf(address));
  const points = found.layers.flatMap(({ shapes }) => shapes.flatMap(({ points: own }) => own));
  const reach = (axis) => points.reduce((most, point) => Math.max(most, point[axis]), 1);
  return { address, ...(size ?? { width: reach(0), height: reach(1) }), angle: page.inputImage ? found.angle : 0 };
}

async function showPage(index) {
  const outcome = state.outcome, { pages } = outcome, found = gather(pages[index]);
  Object.assign(outcome, { found, shares: [] });
  state.page = index;
  byId("pager").hidden = pages.length < 2;
  byId("page-number").textContent = `Page ${index + 1} of ${pages.length}`;
  byId("previous").disabled = index === 0;
  byId("next").disabled = index === pages.length - 1;
  const paint = painter(found.layers);
  if (outcome.sent) {
    const result = found.csvs.length ? csvRows(found.csvs[0]) : null;
    byId("stage").replaceChildren(chart(plotOf(outcome.sent, result), (words, event) => stage.say(words, event)));
    byId("zoom").hidden = byId("layers").hidden = true;
  } else {
    const picture = await backdrop(outcome, index, found), overlays = [];
    for (const map of found.maps) {
      const { address, shares } = await mapPicture(map);
      overlays.push(keep(address));
      outcome.shares.push(...shares);
    }
    const page = turned(picture.angle, picture.width, picture.height);
    const masks = await maskPicture(found.layers.flatMap(({ shapes }) => shapes), page, paint);
    if (masks) overlays.push(keep(masks));
    stage.show(picture, overlays, found.layers, paint);
    byId("zoom").hidden = false;
    showLayers(found.layers, paint);
  }
  showViews(outcome, paint);
}

function showLayers(layers, paint) {
  byId("layers").hidden = layers.length < 2;
  byId("layers").replaceChildren(el("legend", {}, "Layers"), ...layers.map(({ name, shapes }, index) => {
    const box = el("input", { type: "checkbox", checked: true, change: () => stage.visible(index, box.checked) });
    return el("label", { class: "check" }, box, swatch(colour(paint(shapes[0]))), name);
  }));
}

function showViews(outcome, paint) {
  const { operation, file, given, answer, found, shares } = outcome, views = [];
  const add = (id, title, panel) => views.push({ id, title, panel });
  list = null;
  if (found.layers.length) {
    list = new FoundList(found.layers, paint, (id, pick) => {
      stage.mark(id);
      if (id !== null && pick) stage.reveal(id);
    });
    add("found", "Found", list.element);
  }
  if (found.classes.length) add("classes", "Classes", classesPanel(found.classes));
  if (shares.length) add("labels", "Labels", sharesPanel(shares));
  if (found.tables.length) add("tables", "Tables", tablesPanel(found.tables));
  if (found.csvs.length) add("series", "Series", seriesPanel(found.csvs));
  const chat = questionsOf(state.server.errands, operation.tag, answer.result);
  if (chat) {
    outcome.chat ??= chatPanel(chat, answer.result, () => byId("key").value);
    add("ask", "Ask", outcome.chat);
  }
  if (found.pictures.length) add("pictures", "Pictures", picturesPanel(found.pictures));
  add("timings", "Timings", timingsPanel(answer.timings, answer.ms));
  const { needsKey } = state.server;
  add("code", "Code", codePanel(curlFile(operation, file, given, needsKey), pythonFile(operation, file, given, needsKey)));
  const { panel, address } = jsonPanel(answer);
  keep(address);
  add("json", "JSON", panel);
  tabs.show(views);
}

// --- key and theme

function keepKey() {
  // Never in localStorage: the key goes with the tab.
  if (byId("keep-key").checked) sessionStorage.setItem(KEY, byId("key").value);
  else sessionStorage.removeItem(KEY);
}

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  byId("theme").value = name;
}

async function turnPage(step) {
  await showPage(state.page + step);
}

async function start() {
  theme(localStorage.getItem(THEME) ?? "");
  byId("theme").addEventListener("change", () => {
    localStorage.setItem(THEME, byId("theme").value);
    theme(byId("theme").value);
  });
  byId("key").value = sessionStorage.getItem(KEY) ?? "";
  byId("keep-key").checked = byId("key").value !== "";
  byId("key").addEventListener("input", keepKey);
  byId("keep-key").addEventListener("change", keepKey);
  listenForFiles({ drop: byId("drop"), input: byId("file"), examples: byId("examples") }, takeFile);
  byId("operation").addEventListener("change", chooseOperation);
  byId("request").addEventListener("submit", run);
  byId("previous").addEventListener("click", () => turnPage(-1));
  byId("next").addEventListener("click", () => turnPage(1));
  byId("zoom-in").addEventListener("click", () => stage.zoom(1.5));
  byId("zoom-out").addEventListener("click", () => stage.zoom(1 / 1.5));
  byId("zoom-fit").addEventListener("click", () => stage.root && stage.fit());
  try {
    state.server = await readServer();
  } catch (fault) {
    say(`What the server offers cannot be read: ${fault.message}`, true);
    return;
  }
  byId("key-field").hidden = !state.server.needsKey;
  const { operations } = state.server, alone = (tag) => operations.filter((each) => each.tag === tag).length === 1;
  byId("operation").append(...operations.map(({ path, tag }) =>
    el("option", { value: path }, alone(tag) ? tag : `${tag} ${path}`)));
  byId("operation").disabled = false;
  const folder = new URL("examples/", import.meta.url).href, names = await (await fetch(`${folder}index.json`)).json();
  showExamples(byId("examples"), folder, names);
  document.title = `Playground · ${state.server.title}`;
  if (state.server.operations.length) chooseOperation();
}

await start();
