// Tables of a result as elements: a reader of its own that knows few tags, and text is only ever text.

import { el } from "./dom.js";

const KNOWN = new Set(["table", "thead", "tbody", "tr", "td", "th"]);
/** Tags and cells that are shown, at most; and how far a cell may reach. */
const MOST_TOKENS = 60_000, MOST_SPAN = 1000;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };
const TOKEN = /<(\/?)([a-z][a-z0-9]*)([^<>]*)>|([^<]+)|</gi;

function plain(text) {
  return text.replace(/&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|([a-z]{2,6}));/gi, (whole, hex, decimal, name) => {
    if (name) return ENTITIES[name.toLowerCase()] ?? whole;
    const point = hex ? parseInt(hex, 16) : Number(decimal);
    return point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : whole;
  });
}

function span(attributes, name) {
  const found = Number(new RegExp(`\\b${name}\\s*=\\s*["']?(\\d{1,4})`, "i").exec(attributes)?.[1] ?? 1);
  return Math.min(Math.max(1, found), MOST_SPAN);
}

/** The tables in a piece of HTML. Tags that are not of a table are left out, their text stays. */
export function tablesIn(html) {
  const tables = [];
  let table = null, row = null, cell = null, tokens = 0;
  for (const [whole, closing, tag, attributes, text] of html.matchAll(TOKEN)) {
    tokens += 1;
    if (tokens > MOST_TOKENS) break;
    const name = tag?.toLowerCase();
    if (name === undefined || !KNOWN.has(name)) {
      if (cell && name === "br") cell.append("\n");
      else if (cell && name === undefined) cell.append(plain(text ?? whole));
    } else if (name === "table") {
      row = cell = null;
      table = closing ? null : el("table");
      if (table) tables.push(table);
    } else if (name === "tr") {
      cell = null;
      row = closing || !table ? null : table.appendChild(el("tr"));
    } else if (name === "td" || name === "th") {
      if (!closing && table) {
        row ??= table.appendChild(el("tr"));
        cell = row.appendChild(el(name, { colspan: span(attributes, "colspan"), rowspan: span(attributes, "rowspan") }));
      } else cell = null;
    }
  }
  return tables;
}

/** Rows of a CSV as lists of text (RFC 4180). */
export function csvRows(text) {
  const rows = [];
  let row = [], field = "", quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const mark = text[at];
    if (quoted) {
      if (mark !== '"') field += mark;
      else if (text[at + 1] === '"') { field += '"'; at += 1; } else quoted = false;
    } else if (mark === '"') quoted = true;
    else if (mark === ",") { row.push(field); field = ""; }
    else if (mark === "\n") {
      rows.push([...row, field.replace(/\r$/, "")]);
      row = [];
      field = "";
    } else field += mark;
  }
  if (field !== "" || row.length) rows.push([...row, field]);
  return rows;
}

/** A table of rows of text, the first one its head; of many rows the first ones. */
export function rowTable([head, ...rows], caption, most = 200) {
  const table = el("table", { class: "numbers" }, el("caption", {}, caption));
  table.append(el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name || "row"))));
  for (const [first, ...rest] of rows.slice(0, most)) {
    table.append(el("tr", {}, el("th", { scope: "row" }, first), ...rest.map((cell) => el("td", {}, cell))));
  }
  return table;
}
