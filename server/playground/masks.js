// Pixels of masks and label maps, on a canvas that is no larger than a screen shows, a few at a time.

import { colour, turns } from "./dom.js";

/** Pixels of the canvas, at most. */
const MOST = 2_000_000;
const ALPHA = 130;

const COLOURS = Array.from({ length: 8 }, (_, index) => colour(index).match(/[0-9a-f]{2}/gi).map((pair) => parseInt(pair, 16)));
const rgb = (index) => COLOURS[index % COLOURS.length];

/** Set a pixel: `at` counts pixels, not bytes. */
function put(data, at, [red, green, blue]) {
  const byte = 4 * at;
  data[byte] = red;
  data[byte + 1] = green;
  data[byte + 2] = blue;
  data[byte + 3] = ALPHA;
}

/** Lengths of the runs, clear and set in turn, of COCO's compressed text (pycocotools, maskApi.c). */
export function runLengths(text) {
  const lengths = [];
  let place = 0;
  while (place < text.length) {
    let value = 0, shift = 0, more = true;
    while (more && place < text.length) {
      const bits = text.charCodeAt(place) - 48;
      place += 1;
      value += (bits & 31) * 2 ** shift;
      shift += 5;
      more = (bits & 32) !== 0;
      if (!more && bits & 16) value -= 2 ** shift;
    }
    if (lengths.length > 2) value += lengths.at(-2);
    if (value < 0) return [];
    lengths.push(value);
  }
  return lengths;
}

function canvasOf(width, height) {
  const scale = Math.min(1, Math.sqrt(MOST / (width * height)));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  return { canvas, context, image: context.createImageData(canvas.width, canvas.height) };
}

async function addressOf({ canvas, context, image }) {
  context.putImageData(image, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve));
  return URL.createObjectURL(blob);
}

/** As Python and NumPy round: halves to even. */
const rint = (value) => (Math.abs(value % 1) === 0.5 ? 2 * Math.round(value / 2) : Math.round(value));

/** Where a mask begins on the page: it is as large as its box, or as the page. */
function origin(shape, page) {
  const { height, width } = shape.mask;
  if (height === page.height && width === page.width) return [0, 0];
  return [rint(shape.points[0][0]), rint(shape.points[0][1])];
}

/** Address of a picture with the masks of `shapes`, each in the colour of its place; null where there are none. */
export async function maskPicture(shapes, page, paint) {
  const masked = shapes.filter((shape) => shape.mask);
  if (!masked.length) return null;
  const sheet = canvasOf(page.width, page.height), turn = turns();
  const across = sheet.canvas.width / page.width, down = sheet.canvas.height / page.height;
  for (const shape of masked) {
    const [left, top] = origin(shape, page), { height } = shape.mask, ink = rgb(paint(shape));
    let pixel = 0, set = false;
    for (const length of runLengths(shape.mask.runs)) {
      if (set) {
        for (let end = pixel + length, at = pixel; at < end;) {
          const column = Math.floor(at / height), stop = Math.min(end, (column + 1) * height);
          const x = Math.floor((left + column) * across);
          const first = Math.floor((top + at - column * height) * down), last = Math.ceil((top + stop - column * height) * down);
          for (let y = Math.max(0, first); y < Math.min(last, sheet.canvas.height); y += 1) {
            if (x >= 0 && x < sheet.canvas.width) put(sheet.image.data, y * sheet.canvas.width + x, ink);
          }
          at = stop;
        }
        await turn();
      }
      pixel += length;
      set = !set;
      if (pixel > shape.mask.height * shape.mask.width) break;  // no mask of this size
    }
  }
  return addressOf(sheet);
}

/**
 * A label map as a picture, and how much of it each label has.
 * @returns {Promise<{address: string, shares: {label: number, share: number}[]}>} most frequent first
 */
export async function mapPicture({ labels, height, width }) {
  const sheet = canvasOf(width, height), turn = turns(), counts = new Map();
  for (let row = 0; row < height; row += 1) {
    for (let at = row * width; at < (row + 1) * width; at += 1) counts.set(labels[at], (counts.get(labels[at]) ?? 0) + 1);
    await turn();
  }
  const { width: columns, height: rows } = sheet.canvas;
  for (let y = 0; y < rows; y += 1) {
    const source = Math.floor(((y + 0.5) * height) / rows) * width;
    for (let x = 0; x < columns; x += 1) {
      const label = labels[source + Math.floor(((x + 0.5) * width) / columns)];
      if (label) put(sheet.image.data, y * columns + x, rgb(label - 1));  // 0 is the background
    }
    await turn();
  }
  const shares = [...counts].map(([label, count]) => ({ label, share: count / (height * width) }));
  return { address: await addressOf(sheet), shares: shares.sort((a, b) => b.share - a.share) };
}
