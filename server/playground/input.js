// The file: chosen, dropped, pasted or an example; and what of it a browser can show.

import { el } from "./dom.js";

/** Types by ending, for systems that do not know them. */
const ENDINGS = { csv: "text/csv", pdf: "application/pdf", png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg",
  webp: "image/webp", bmp: "image/bmp", tif: "image/tiff", tiff: "image/tiff", gif: "image/gif" };

/** The same file with a type, where its name tells it. */
function typed(file) {
  const known = ENDINGS[file.name.split(".").pop().toLowerCase()];
  return known && known !== file.type ? new File([file], file.name, { type: known }) : file;
}

/**
 * The picture in a file as a browser shows it, upright by its EXIF.
 * @returns {Promise<{address: string, width: number, height: number} | null>} null: it cannot
 */
export async function pictureOf(file) {
  if (!file.type.startsWith("image/")) return null;
  const address = URL.createObjectURL(file);
  const size = await sizeOf(address);
  if (!size) URL.revokeObjectURL(address);
  return size && { address, ...size };
}

/** Size of the picture at an address, null if it is none. */
export function sizeOf(address) {
  return new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve({ width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = () => resolve(null);
    image.src = address;
  });
}

/**
 * Listen for files everywhere they may come from.
 * @param {{drop: HTMLElement, input: HTMLInputElement, examples: HTMLElement}} elements
 * @param {(file: File) => void} onFile
 */
export function listenForFiles({ drop, input, examples }, onFile) {
  const take = (files) => files?.length && onFile(typed(files[0]));
  input.addEventListener("change", () => take(input.files));
  let inside = 0;
  const over = (change) => {
    inside = change === 0 ? 0 : inside + change;
    drop.classList.toggle("over", inside > 0);
  };
  // The whole page takes a file: one that misses the field would otherwise replace the page.
  document.addEventListener("dragenter", () => over(1));
  document.addEventListener("dragleave", () => over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(0);
    take(event.dataTransfer?.files);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) {
      event.preventDefault();
      take(event.clipboardData.files);
    }
  });
  examples.addEventListener("click", async (event) => {
    const name = event.target.dataset.name;
    if (!name) return;
    const response = await fetch(examples.dataset.folder + name);
    if (response.ok) take([new File([await response.blob()], name)]);
  });
}

/** Show buttons of example pictures. */
export function showExamples(element, folder, names) {
  element.dataset.folder = folder;
  const title = (name) => name.replace(/\.\w+$/, "").replaceAll("_", " ");
  element.replaceChildren(...names.map((name) => el("button", { type: "button", "data-name": name }, title(name))));
}
