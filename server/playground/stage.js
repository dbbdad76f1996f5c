// The input with everything found on it: one SVG whose view box is what zooms and moves.

import { colour, percent, svg } from "./dom.js";

const LARGEST_ZOOM = 40, STEP = 1.3, MOVE = 0.1;

/** Transform that turns a picture as the server turned it, counter-clockwise; and the size it then has. */
export function turned(angle, width, height) {
  if (angle === 90) return { transform: `matrix(0 -1 1 0 0 ${width})`, width: height, height: width };
  if (angle === 180) return { transform: `matrix(-1 0 0 -1 ${width} ${height})`, width, height };
  if (angle === 270) return { transform: `matrix(0 1 -1 0 ${height} 0)`, width: height, height: width };
  return { transform: null, width, height };
}

/** What is said of a shape in a line. */
export const sayings = (shape) => [shape.text, shape.label, percent(shape.score)].filter(Boolean).join(" · ");

export class Stage {
  /**
   * @param {HTMLElement} element where the picture goes
   * @param {HTMLElement} tip follows the pointer
   * @param {(id: number | null) => void} onHover the pointer is over a shape, or over none
   */
  constructor(element, tip, onHover) {
    Object.assign(this, { element, tip, onHover, root: null, nodes: [], shapes: [], pointers: new Map() });
  }

  /**
   * Show a page.
   * @param {{address: string | null, width: number, height: number, angle: number}} picture
   * @param {string[]} overlays addresses of pictures over it
   * @param {{name: string, shapes: object[]}[]} layers
   * @param {(shape: object) => number} paint place of a shape's colour
   */
  show(picture, overlays, layers, paint) {
    const size = turned(picture.angle, picture.width, picture.height);
    Object.assign(this, { width: size.width, height: size.height, shapes: [], nodes: [], pointers: new Map() });
    this.root = svg("svg", { role: "img", tabindex: "0", "aria-label": this.words(layers),
      "aria-keyshortcuts": "+ - 0 ArrowLeft ArrowRight ArrowUp ArrowDown" });
    if (picture.address) {
      const at = { href: picture.address, width: picture.width, height: picture.height, transform: size.transform };
      this.root.append(svg("image", { ...at, preserveAspectRatio: "none" }));
    }
    for (const address of overlays) {
      this.root.append(svg("image", { href: address, width: this.width, height: this.height, preserveAspectRatio: "none" }));
    }
    this.groups = layers.map((layer) => svg("g", {}, ...layer.shapes.map((shape) => this.shape(shape, paint))));
    this.root.append(...this.groups);
    this.listen();
    this.element.replaceChildren(this.root);
    this.fit();
  }

  words(layers) {
    const counts = layers.map((layer) => `${layer.shapes.length} of ${layer.name}`);
    return `The input, ${this.width} by ${this.height} pixels${counts.length ? `, with ${counts.join(", ")}` : ""}. `
      + "Plus and minus zoom, arrows move, zero fits.";
  }

  shape(shape, paint) {
    const points = shape.points.map((point) => point.join(",")).join(" ");
    const node = svg("polygon", { class: "shape", points, stroke: colour(paint(shape)), "data-id": this.shapes.length });
    this.shapes.push(shape);
    this.nodes.push(node);
    return node;
  }

  visible(index, on) {
    this.groups[index].toggleAttribute("hidden", !on);
  }

  /** Mark one shape, or none. */
  mark(id) {
    this.marked?.classList.remove("on");
    this.marked = id === null ? undefined : this.nodes[id];
    this.marked?.classList.add("on");
  }

  /** Move a shape into view if it is outside. */
  reveal(id) {
    const [x, y] = this.shapes[id].points[0], box = this.box;
    if (x < box.x || y < box.y || x > box.x + box.width || y > box.y + box.height) {
      this.place({ ...box, x: x - box.width / 2, y: y - box.height / 2 });
    }
  }

  fit() {
    this.place({ x: 0, y: 0, width: this.width, height: this.height });
  }

  place(box) {
    const clamp = (low, value, high) => Math.min(Math.max(low, value), high);
    box.x = clamp(-box.width / 2, box.x, this.width - box.width / 2);
    box.y = clamp(-box.height / 2, box.y, this.height - box.height / 2);
    this.box = box;
    this.root.setAttribute("viewBox", `${box.x} ${box.y} ${box.width} ${box.height}`);
  }

  /** Zoom by a factor around a point of the page; without one around the middle. */
  zoom(factor, point) {
    if (!this.root) return;
    const { x, y, width, height } = this.box;
    const wanted = Math.min(Math.max(width / factor, this.width / LARGEST_ZOOM), 2 * this.width);
    const scale = wanted / width, [px, py] = point ?? [x + width / 2, y + height / 2];
    this.place({ x: px - (px - x) * scale, y: py - (py - y) * scale, width: wanted, height: height * scale });
  }

  at(event) {
    const matrix = this.root.getScreenCTM();
    if (!matrix) return [0, 0];
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    return [point.x, point.y];
  }

  move(across, down) {
    const { width, height } = this.box;
    this.place({ ...this.box, x: this.box.x + across * width, y: this.box.y + down * height });
  }

  listen() {
    const { root } = this;
    root.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? STEP : 1 / STEP, this.at(event));
    }, { passive: false });
    root.addEventListener("keydown", (event) => this.key(event));
    root.addEventListener("pointerdown", (event) => {
      root.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      root.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    root.addEventListener("pointermove", (event) => this.pointer(event));
    root.addEventListener("pointerleave", () => this.hover(null));
  }

  key(event) {
    const moves = { ArrowLeft: [-MOVE, 0], ArrowRight: [MOVE, 0], ArrowUp: [0, -MOVE], ArrowDown: [0, MOVE] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") this.zoom(STEP);
    else if (event.key === "-") this.zoom(1 / STEP);
    else if (event.key === "0") this.fit();
    else if (event.key in moves) this.move(...moves[event.key]);
    else return;
    event.preventDefault();
  }

  pointer(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.hover(event);
      return;
    }
    const [x, y] = this.at(event), [fromX, fromY] = this.at(before);
    const other = [...this.pointers.values()].find((one) => one.pointerId !== event.pointerId);
    this.pointers.set(event.pointerId, event);
    if (other) {
      const away = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      this.zoom(away(event) / away(before), this.at(other));
    } else this.place({ ...this.box, x: this.box.x - (x - fromX), y: this.box.y - (y - fromY) });
  }

  hover(event) {
    const id = event?.target?.dataset?.id, found = id === undefined ? null : Number(id);
    if (found !== this.hovered) {
      this.hovered = found;
      this.onHover(found);
    }
    this.say(found === null ? "" : sayings(this.shapes[found]), event);
  }

  /** Show words at the pointer. */
  say(words, event) {
    this.tip.hidden = !words;
    if (!words) return;
    this.tip.textContent = words.length > 400 ? `${words.slice(0, 400)}…` : words;
    const { offsetWidth: width, offsetHeight: height } = this.tip;
    this.tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    this.tip.style.top = `${event.clientY + height + 24 > innerHeight ? event.clientY - height - 10 : event.clientY + 16}px`;
  }
}
