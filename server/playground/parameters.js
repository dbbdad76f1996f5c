// The form of parameters, made of the API document: what a field takes decides how it is asked for.

import { kinds } from "./api.js";
import { el } from "./dom.js";

/** Beyond this a bound is one of the number format, and says nothing to people. */
const FAR = 1e6;

function choice(id, options) {
  const select = el("select", { id });
  for (const [value, text] of [["", "Default"], ...options]) select.append(el("option", { value }, text));
  return { input: select, read: (text) => JSON.parse(text) };
}

function number(id, kind) {
  const near = (bound) => (Math.abs(bound ?? Infinity) <= FAR ? bound : null);
  const step = kind.type === "integer" ? "1" : "any";
  const attributes = { id, type: "number", step, min: near(kind.minimum), max: near(kind.maximum) };
  return { input: el("input", { ...attributes, placeholder: "Default" }), read: Number };
}

function json(id, mixed) {
  const input = el("input", { id, type: "text", placeholder: "JSON", spellcheck: "false" });
  const read = (text) => {
    try {
      return JSON.parse(text);
    } catch (fault) {
      if (mixed) return text;
      throw fault;
    }
  };
  return { input, read };
}

/** `{input, read}`: an element, and what makes a value of its text. */
function control(id, found) {
  const [kind] = found;
  if (found.length === 1) {
    if (kind.type === "boolean") return choice(id, [["true", "On"], ["false", "Off"]]);
    if (kind.enum) return choice(id, kind.enum.map((value) => [JSON.stringify(value), String(value)]));
    if (kind.type === "number" || kind.type === "integer") return number(id, kind);
    if (kind.type === "string") {
      return { input: el("input", { id, type: "text", placeholder: "Default" }), read: (text) => text };
    }
  }
  return json(id, found.some((each) => each.type === "string"));
}

/** Words for what a field takes where its element does not say it. */
function hint(found) {
  const [{ type, minimum, maximum }] = found;
  if (found.length > 1) return found.map((each) => each.type).join(" or ");
  if (type !== "number" && type !== "integer") return "";
  return Math.abs(minimum) <= FAR && Math.abs(maximum) <= FAR ? `${minimum} to ${maximum}` : "";
}

export class Parameters {
  constructor(element) {
    this.element = element;
    this.controls = [];
  }

  /** Show the fields of an operation. */
  show(operation, document) {
    this.controls = operation.fields.map(([name, schema]) => {
      const id = `parameter-${name}`, found = kinds(schema, document), { input, read } = control(id, found);
      const about = schema.description || hint(found);
      if (about) input.setAttribute("aria-describedby", `${id}-about`);
      const label = el("label", { for: id }, el("code", {}, name));
      const words = about ? el("span", { class: "help", id: `${id}-about` }, about) : null;
      return { name, input, read, field: el("div", { class: "field" }, label, input, words) };
    });
    this.element.replaceChildren(...this.controls.map((each) => each.field));
  }

  /** What is set: name to value. Raises an Error that names the field, which then has the focus. */
  values() {
    const found = {};
    for (const { name, input, read } of this.controls) {
      input.removeAttribute("aria-invalid");
      if (input.value.trim() === "" && !input.validity.badInput) continue;
      try {
        if (input.validity.badInput) throw new Error("no number");
        found[name] = read(input.value.trim());
      } catch {
        input.setAttribute("aria-invalid", "true");
        input.closest("details").open = true;
        input.focus();
        throw new Error(`${name}: this is not a value that the field takes`);
      }
    }
    return found;
  }
}
