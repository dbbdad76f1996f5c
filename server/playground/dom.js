// Elements without markup: text is only ever text.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element; a function among the attributes listens to the event of that name. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

export const byId = (id) => document.getElementById(id);

/** Colours that are told apart on light and dark pictures, also by the colour-blind (Okabe and Ito, 2008). */
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a63d2", "#d62728"];

export const colour = (index) => PALETTE[index % PALETTE.length];

/** A small square of a colour, for legends. */
export function swatch(paint) {
  const square = el("span", { class: "swatch", "aria-hidden": "true" });
  square.style.background = paint;
  return square;
}

const BUDGET_MS = 8;

/** Gives the page a turn whenever this long job has had its time: `await turn()` inside of a loop. */
export function turns() {
  let end = performance.now() + BUDGET_MS;
  return async () => {
    if (performance.now() < end) return;
    await new Promise((resolve) => setTimeout(resolve));
    end = performance.now() + BUDGET_MS;
  };
}

export const percent = (score) => (Number.isFinite(score) ? `${(100 * score).toFixed(1)} %` : "");

/** Put text on the clipboard and say so on the button. */
export async function copy(button, text) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copying is not allowed here";  // plain HTTP has no clipboard
  }
  setTimeout(() => { button.textContent = before; }, 2000);
}
