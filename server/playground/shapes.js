// What is in a result, told by its shape and not by its pipeline: a new pipeline needs no change here.

const DEPTH = 12;
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && !ArrayBuffer.isView(value);
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const isList = (value) => Array.isArray(value) && value.length > 0;
const isBox = (value) => Array.isArray(value) && value.length === 4 && value.every(isNumber);
const isPoint = (value) => Array.isArray(value) && value.length === 2 && value.every(isNumber);
const isPolygon = (value) => Array.isArray(value) && value.length >= 3 && value.every(isPoint);
const isShape = (value) => isBox(value) || isPolygon(value);
const isShapes = (value) => isList(value) && value.every(isShape);
const isTexts = (value) => isList(value) && value.every((entry) => typeof entry === "string");
const isHtml = (value) => typeof value === "string" && /^\s*<(html|table)\b/i.test(value);
const isPicture = (value) => typeof value === "string" && value.length > 64 && /^(\/9j\/|iVBORw0KGgo)/.test(value);
const isCsv = (text) => /^[^\n]*,[^\n]*\n/.test(text);

/** The CSV in a text that is one, as it is or in base64; null if it is none. */
function csvIn(text) {
  if (isCsv(text)) return isHtml(text) ? null : text;
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return null;
  try {
    const bytes = Uint8Array.from(atob(text), (mark) => mark.charCodeAt(0));
    const found = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return isCsv(found) ? found : null;
  } catch {
    return null;  // neither base64 nor UTF-8
  }
}

/** The address of a picture in base64. */
export const pictureAddress = (text) => `data:image/${text.startsWith("/9j/") ? "jpeg" : "png"};base64,${text}`;

const corners = (shape) => {
  if (isPolygon(shape)) return shape;
  const [left, top, right, bottom] = shape;
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
};

/** The parts of a result that are about one page each; a result that has none is one page. */
export function pagesOf(result) {
  const lists = Object.values(result).filter((value) => isList(value) && value.every(isObject));
  const pages = lists.find((list) => list.every((entry) => isObject(entry.prunedResult)))
    ?? lists.find((list) => list.every((entry) => Object.values(entry).some(isPicture)));
  return pages ?? [result];
}

/** (width, height) of a page as the server saw it, or null. */
export function pageSize(result, index) {
  const info = result.dataInfo, found = info?.pages?.[index] ?? info;
  return isNumber(found?.width) && isNumber(found?.height) ? { width: found.width, height: found.height } : null;
}

/** The field among those of an object whose name fits, with a value that does. */
const named = (object, pattern, fits) => Object.entries(object).find(([key, value]) => pattern.test(key) && fits(value))?.[1];

const isText = (value) => typeof value === "string" && !isHtml(value) && !isPicture(value);

class Gathering {
  constructor() {
    this.found = { layers: [], maps: [], classes: [], tables: [], csvs: [], pictures: [], angle: 0 };
    this.seen = new Set();
    this.byName = new Map();
  }

  add(name, shape) {
    const key = `${shape.points.flat()}|${shape.text ?? ""}|${shape.label ?? ""}`;
    if (this.seen.has(key)) return;  // the lines of a table are among those of its page
    this.seen.add(key);
    if (!this.byName.has(name)) {
      this.byName.set(name, { name, shapes: [] });
      this.found.layers.push(this.byName.get(name));
    }
    this.byName.get(name).shapes.push(shape);
  }

  walk(value, path, depth = 0) {
    if (depth > DEPTH) return;
    if (typeof value === "string") this.text(value, path);
    else if (Array.isArray(value)) {
      if (this.classes(value)) return;
      for (const entry of value) {
        if (typeof entry === "string" || (entry !== null && typeof entry === "object")) this.walk(entry, path, depth + 1);
      }
    } else if (isObject(value)) this.object(value, path, depth);
  }

  text(value, path) {
    if (isHtml(value)) {
      if (!this.found.tables.includes(value)) this.found.tables.push(value);
    } else if (isPicture(value)) this.found.pictures.push({ name: path.at(-1) ?? "picture", text: value });
    else if (/csv/i.test(path.at(-1) ?? "")) {
      const csv = csvIn(value);
      if (csv !== null) this.found.csvs.push(csv);
    }
  }

  object(object, path, depth) {
    const done = new Set([...this.map(object), ...this.lists(object, path), ...this.single(object, path)]);
    if (isNumber(object.angle)) this.found.angle = object.angle;
    for (const [key, value] of Object.entries(object)) {
      if (!done.has(key)) this.walk(value, key === "prunedResult" ? path : [...path, key], depth + 1);
    }
  }

  /** A class per pixel beside its size. Gives the keys that are read. */
  map(object) {
    const size = Object.entries(object).find(([, value]) => isPoint(value));
    const labels = size && Object.entries(object).find(([, value]) =>
      (ArrayBuffer.isView(value) || (isList(value) && value.every(Number.isInteger))) && value.length === size[1][0] * size[1][1]);
    if (!labels || labels[0] === size[0]) return [];
    this.found.maps.push({ labels: labels[1], height: size[1][0], width: size[1][1] });
    return [labels[0], size[0]];
  }

  /** Lists of shapes side by side with lists of texts and scores. Gives the keys that are read. */
  lists(object, path) {
    const entries = Object.entries(object), shapes = entries.filter(([, value]) => isShapes(value));
    const words = this.nested(entries, path);
    if (!shapes.length) return words;
    const [textKey, texts] = entries.find(([, value]) => isTexts(value) && shapes.some(([, s]) => s.length === value.length)) ?? [];
    if (!texts) {
      for (const [key, list] of shapes) for (const shape of list) this.add([...path, key].join(" › "), { points: corners(shape) });
      return [...shapes.map(([key]) => key), ...words];
    }
    const prefix = textKey.split("_")[0];
    const rank = ([key, value]) => 2 * key.startsWith(prefix) + isPolygon(value[0]);
    const [best] = shapes.filter(([, value]) => value.length === texts.length).sort((a, b) => rank(b) - rank(a));
    const scores = entries.find(([key, value]) => /score/i.test(key) && isList(value) && value.length === texts.length)?.[1] ?? [];
    const name = path.join(" › ") || textKey;
    best[1].forEach((shape, i) => this.add(name, { points: corners(shape), text: texts[i], score: scores[i] }));
    return [...shapes.map(([key]) => key), textKey, ...words];
  }

  /** Lists of lists of shapes, such as words by line. Gives the keys that are read. */
  nested(entries, path) {
    const found = entries.filter(([, value]) => isList(value) && value.some(isShapes)
      && value.every((list) => isShapes(list) || list?.length === 0) && !isShapes(value));
    for (const [key, value] of found) {
      const texts = entries.find(([, other]) => isList(other) && other.length === value.length && other.some(isTexts)
        && other.every((list, i) => list?.length === value[i].length))?.[1];
      value.forEach((list, i) => list.forEach((shape, j) =>
        this.add([...path, key].join(" › "), { points: corners(shape), text: texts?.[i][j] })));
    }
    return found.map(([key]) => key);
  }

  /** One shape with what is said of it. Gives the keys that are read. */
  single(object, path) {
    const [key, shape] = Object.entries(object).find(([, value]) => isShape(value)) ?? [];
    if (!shape) {
      const label = named(object, /label|name|class/i, isText), score = named(object, /score|prob/i, isNumber);
      if (label !== undefined && score !== undefined && path.length === 0) this.found.classes.push({ label, score });
      return [];
    }
    const mask = Object.entries(object).find(([, value]) => isObject(value) && isPoint(value.size)
      && Object.values(value).some((entry) => typeof entry === "string"));
    const runs = mask && Object.values(mask[1]).find((entry) => typeof entry === "string");
    this.add(path.join(" › ") || key, {
      points: corners(shape),
      label: named(object, /label|name|class/i, isText),
      text: named(object, /text|content/i, isText),
      score: named(object, /score|prob/i, isNumber),
      mask: mask ? { runs, height: mask[1].size[0], width: mask[1].size[1] } : undefined,
    });
    return mask ? [key, mask[0]] : [key];
  }

  /** A list of names with scores and no place. Returns whether it is one. */
  classes(list) {
    const fits = list.length > 0 && list.every((entry) => isObject(entry) && !Object.values(entry).some(isShape)
      && named(entry, /label|name|class/i, isText) !== undefined && named(entry, /score|prob/i, isNumber) !== undefined);
    if (!fits) return false;
    for (const entry of list) {
      this.found.classes.push({ label: named(entry, /label|name|class/i, isText), score: named(entry, /score|prob/i, isNumber) });
    }
    return true;
  }
}

/**
 * Everything that can be shown of one page.
 * `layers`: lists of `{points, text?, label?, score?, mask?}`; `maps`: `{labels, height, width}`; `classes`:
 * `{label, score}`; `tables`: HTML as text; `csvs`, `pictures`; `angle`: degrees that the page was turned by,
 * counter-clockwise.
 */
export function gather(page) {
  const gathering = new Gathering();
  gathering.walk(page, []);
  return gathering.found;
}
