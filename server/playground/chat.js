// Questions to a document that has been read: routes without a file that take what the result holds.

import { ask, jsonRequest } from "./api.js";
import { el } from "./dom.js";

const isTexts = (schema) => schema?.type === "array" && schema.items?.type === "string";

/** How a route can be asked with these values: its form and the field for the keys; null if it cannot. */
function usable(errand, values) {
  for (const form of errand.forms) {
    const open = form.required.filter((name) => !(name in values));
    const keys = open.find((name) => isTexts(form.properties[name]));
    if (open.length === (keys ? 1 : 0) && form.required.some((name) => name in values)) return { errand, form, keys };
  }
  return null;
}

/** What of the values a form takes. */
const taken = (form, values) => Object.fromEntries(Object.entries(values).filter(([name]) => name in form.properties));

/** The routes for a result: `{steps, question}`; null where no route asks anything. */
export function questionsOf(errands, tag, result) {
  const found = errands.filter((errand) => errand.tag === tag).map((errand) => usable(errand, result)).filter(Boolean);
  const question = found.find(({ keys }) => keys);
  return question ? { question, steps: found.filter(({ keys }) => !keys) } : null;
}

function answers(result) {
  const rows = Object.entries(Object.values(result)[0] ?? {});
  const table = el("table", {}, el("caption", {}, "Answers"));
  for (const [key, value] of rows) {
    const words = value === null ? "not found" : typeof value === "string" ? value : JSON.stringify(value);
    table.append(el("tr", {}, el("th", { scope: "row" }, key), el("td", {}, words)));
  }
  return el("div", { class: "table-wrap" }, table);
}

/** The panel that asks; `key` gives the API key. */
export function chatPanel({ question, steps }, result, key) {
  const input = el("textarea", { id: "keys", "aria-describedby": "keys-help", placeholder: "Invoice number\nGrand total" });
  const button = el("button", { type: "submit", id: "ask" }, "Ask");
  const status = el("p", { class: "status", role: "status", id: "ask-status" });
  const output = el("div", { id: "answers" });
  let values = null;  // of the steps before the question; they are made once

  async function run(event) {
    event.preventDefault();
    const keys = input.value.split("\n").map((line) => line.trim()).filter(Boolean);
    if (!keys.length || button.disabled) {
      if (!keys.length) input.focus();
      return;
    }
    button.disabled = true;
    status.classList.remove("bad");
    status.textContent = "Asking…";
    try {
      if (!values) {
        values = { ...result };
        for (const { errand, form } of steps) {
          Object.assign(values, (await ask(jsonRequest(errand.path, taken(form, values)), key())).result);
        }
      }
      const body = { ...taken(question.form, values), [question.keys]: keys };
      const found = await ask(jsonRequest(question.errand.path, body), key());
      output.replaceChildren(answers(found.result));
      status.textContent = `Answered in ${Math.round(found.ms)} ms`;
    } catch (fault) {
      values = null;
      status.classList.add("bad");
      status.textContent = fault.message;
    }
    button.disabled = false;
  }

  return el("form", { submit: run, "aria-label": "Ask the document" },
    el("div", { class: "field" }, el("label", { for: "keys" }, "What to look for"), input,
      el("p", { class: "help", id: "keys-help" }, "One key a line. A language model answers; it can be wrong.")),
    el("div", { class: "row" }, button), status, output);
}
