// What the server says of itself in openapi.json, and asking it.

import { readJson } from "./reader.js";

const JSON_TYPE = "application/json", FORM_TYPE = "multipart/form-data";
/** Fields of the API that the page fills in itself, or that say nothing about the work. */
const OWN = new Set(["fileType", "logId"]);

/** A schema with its references followed. */
function resolved(schema, document) {
  let found = schema;
  while (found.$ref) found = document.components.schemas[found.$ref.split("/").pop()];
  return found;
}

const members = (schema, document) => (schema.anyOf ?? [schema]).map((each) => resolved(each, document));

/** The kinds of value a field takes, null left out. */
export const kinds = (schema, document) => members(schema, document).filter((each) => each.type !== "null");

/** One route with a file: where it is, what it is called there, which parameters it takes. */
function fileOperation(path, post, document) {
  const content = post.requestBody.content, forms = members(content[FORM_TYPE].schema, document);
  // Of two generations the one that can leave pictures out.
  const form = forms.find((each) => "visualize" in each.properties) ?? forms[0];
  const file = form.required[0];
  const fields = Object.entries(form.properties).filter(([name]) => name !== file && !OWN.has(name));
  return {
    path, file, fields, tag: post.tags?.[0] ?? path,
    pictures: "visualize" in form.properties, typed: "fileType" in form.properties,
    media: Object.keys(content).filter((type) => type !== JSON_TYPE && type !== FORM_TYPE),
  };
}

/** One route without a file: the forms of its body. */
const errand = (path, post, document) => ({
  path, tag: post.tags?.[0] ?? path, forms: members(post.requestBody.content[JSON_TYPE].schema, document),
});

/** The API document: `{title, needsKey, operations, errands, document}`. */
export async function readServer() {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
  const document = await response.json();
  const posts = Object.entries(document.paths).filter(([, item]) => item.post?.requestBody);
  const hasFile = ([, item]) => FORM_TYPE in item.post.requestBody.content;
  return {
    document,
    title: document.info.title,
    needsKey: posts.some(([, item]) => item.post.security?.length),
    operations: posts.filter(hasFile).map(([path, item]) => fileOperation(path, item.post, document)),
    errands: posts.filter((post) => !hasFile(post)).map(([path, item]) => errand(path, item.post, document)),
  };
}

/** Whether a file can be sent as it is: as a body of its own type. */
export const takesRaw = (operation, type) => type !== "" && operation.media.some(
  (media) => (media.endsWith("*") ? type.startsWith(media.slice(0, -1)) : type === media));

const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** `?name=value…` of parameters, "" for none. */
export function query(parameters) {
  const found = new URLSearchParams(Object.entries(parameters).map(([name, value]) => [name, asText(value)]));
  return found.size ? `?${found}` : "";
}

/** What `fetch` needs for a file: address and body. */
export function fileRequest(operation, file, parameters) {
  const path = operation.path.slice(1);
  if (takesRaw(operation, file.type)) {
    return [path + query(parameters), { body: file, headers: { "Content-Type": file.type } }];
  }
  const body = new FormData();
  for (const [name, value] of Object.entries(parameters)) body.append(name, asText(value));
  body.append(operation.file, file, file.name);
  return [path, { body, headers: {} }];
}

/** What `fetch` needs for a body of JSON. */
export const jsonRequest = (path, body) => [
  path.slice(1), { body: JSON.stringify(body), headers: { "Content-Type": JSON_TYPE } },
];

/** A refusal: what the server said, and its status. */
export class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

/** The words of an error; a list of problems is one line each. */
function words(answer, status) {
  const text = answer?.errorMsg;
  if (typeof text !== "string") return `The server answered ${status}`;
  try {
    const problems = JSON.parse(text).map((each) => `${each.loc.slice(1).join(".")}: ${each.msg}`);
    return problems.join("; ");
  } catch {
    return text;
  }
}

/** `[{name, ms, words}]` of a Server-Timing header. */
export function timings(header) {
  return (header ?? "").split(",").flatMap((entry) => {
    const [name, ...rest] = entry.trim().split(";");
    const duration = rest.map((part) => part.trim()).find((part) => part.startsWith("dur="));
    return name && duration ? [{ name, ms: Number(duration.slice(4)) }] : [];
  });
}

/**
 * Send a request and read the answer.
 * @returns {Promise<{result: any, bytes: Uint8Array, timings: {name: string, ms: number}[], ms: number}>}
 * @throws {Refused}
 */
export async function ask([address, init], key, signal) {
  const started = performance.now();
  const headers = key ? { ...init.headers, Authorization: `Bearer ${key}` } : init.headers;
  const response = await fetch(address, { method: "POST", ...init, headers, signal });
  const bytes = new Uint8Array(await response.arrayBuffer());
  const ms = performance.now() - started;
  let answer = null;
  try {
    answer = await readJson(bytes);
  } catch {
    throw new Refused(response.status, `The server answered ${response.status}, and no JSON`);
  }
  if (!response.ok || answer.errorCode !== 0) throw new Refused(response.status, words(answer, response.status));
  return { result: answer.result, answer, bytes, ms, timings: timings(response.headers.get("Server-Timing")) };
}
