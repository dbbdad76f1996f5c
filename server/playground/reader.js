// Reads an answer without stopping the page: long lists of whole numbers (a class per pixel) become typed
// arrays, piece by piece; only what is left goes through JSON.parse.

import { turns } from "./dom.js";

/** A list is long from so many numbers on. */
const LONG = 4096;
/** Bytes between two looks at the clock. */
const STRIDE = 1 << 18;
const QUOTE = 34, COMMA = 44, OPEN = 91, BACKSLASH = 92, CLOSE = 93, ZERO = 48, NINE = 57, SPACE = 32;

/** Index behind the string that starts at `at`. */
function endOfString(bytes, at) {
  let end = at;
  for (;;) {
    end = bytes.indexOf(QUOTE, end + 1);
    if (end < 0) return bytes.length;
    let slashes = 0;
    while (bytes[end - 1 - slashes] === BACKSLASH) slashes += 1;
    if (slashes % 2 === 0) return end + 1;
  }
}

/** The list of small whole numbers that opens at `at`: `{end, values}`; values are null if it is another one. */
async function numbers(bytes, at, turn) {
  let values = new Uint16Array(LONG), count = 0, number = 0, digits = 0, place = at + 1;
  for (; place < bytes.length; place += 1) {
    const byte = bytes[place];
    if (byte >= ZERO && byte <= NINE) {
      number = number * 10 + byte - ZERO;
      digits += 1;
      if (number > 65535) return { end: place, values: null };
    } else if ((byte === COMMA || byte === CLOSE) && digits) {
      if (count === values.length) {
        const larger = new Uint16Array(2 * count);
        larger.set(values);
        values = larger;
      }
      values[count] = number;
      count += 1;
      number = digits = 0;
      if (byte === CLOSE) return { end: place + 1, values: count >= LONG ? values.slice(0, count) : null };
    } else if (byte !== SPACE) return { end: place, values: null };
    if (place % STRIDE === 0) await turn();
  }
  return { end: place, values: null };
}

/** Put the typed arrays where their names stand. */
function restored(value, name, arrays) {
  if (typeof value === "string") return value.startsWith(name) ? arrays[Number(value.slice(name.length))] : value;
  if (value !== null && typeof value === "object") {
    for (const key of Object.keys(value)) value[key] = restored(value[key], name, arrays);
  }
  return value;
}

/**
 * The object in the bytes of a JSON text.
 * @param {Uint8Array} bytes UTF-8
 * @returns {Promise<any>} as JSON.parse, but that long lists of whole numbers are Uint16Arrays
 */
export async function readJson(bytes) {
  const turn = turns(), arrays = [], parts = [], decoder = new TextDecoder();
  const name = `${crypto.getRandomValues(new Uint32Array(4)).join("-")}:`;  // no answer can hold it
  let kept = 0, place = 0, looked = 0;
  while (place < bytes.length) {
    const byte = bytes[place];
    if (byte === QUOTE) place = endOfString(bytes, place);
    else if (byte === OPEN) {
      const found = await numbers(bytes, place, turn);
      if (found.values) {
        parts.push(decoder.decode(bytes.subarray(kept, place)), `"${name}${arrays.length}"`);
        arrays.push(found.values);
        kept = found.end;
      }
      place = Math.max(found.end, place + 1);
    } else place += 1;
    if (place - looked > STRIDE) {
      looked = place;
      await turn();
    }
  }
  parts.push(decoder.decode(bytes.subarray(kept)));
  const value = JSON.parse(parts.join(""));
  return arrays.length ? restored(value, name, arrays) : value;
}

/** Characters of the shortened text, and entries of a list and characters of a text in it. */
const MOST = 200_000, ENTRIES = 24, CHARACTERS = 240;

/** The same as indented text, long texts and lists shortened: for reading. */
export function abridged(value) {
  let room = MOST;
  const short = (entry) => {
    if (room <= 0) return "…";
    if (typeof entry === "string") {
      const cut = entry.length > CHARACTERS;
      const text = cut ? `${entry.slice(0, CHARACTERS)}… (${entry.length} characters)` : entry;
      room -= text.length;
      return text;
    }
    room -= 8;
    if (ArrayBuffer.isView(entry) || Array.isArray(entry)) {
      const plain = ArrayBuffer.isView(entry) || entry.every((one) => typeof one === "number");
      const shown = Array.from(plain ? entry.subarray?.(0, ENTRIES) ?? entry.slice(0, ENTRIES) : entry, short);
      if (plain && entry.length > ENTRIES) shown.push(`… (${entry.length} numbers)`);
      return shown;
    }
    if (entry === null || typeof entry !== "object") return entry;
    return Object.fromEntries(Object.entries(entry).map(([key, inner]) => [key, short(inner)]));
  };
  return JSON.stringify(short(value), null, 1);
}
