// The request as commands: what somebody copies has to run, whatever a file is called. Keys are never in it.

import { query, takesRaw } from "./api.js";

/** A word of a POSIX shell. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
/** A name as curl takes it behind `@` in a form. */
const inForm = (name) => `"${name.replace(/["\\]/g, "\\$&")}"`;

const HEAD = '-H "Authorization: Bearer $API_KEY"';
const lines = (parts) => parts.filter(Boolean).join(" \\\n  ");
const address = (path) => new URL(path.slice(1), document.baseURI).href;
/** A name that no tool takes for an option or a command: a path. */
const pathOf = (name) => `./${name}`;

/** curl with a file as the page sends it. */
export function curlFile(operation, file, parameters, key) {
  const url = address(operation.path), name = pathOf(file.name);
  if (takesRaw(operation, file.type)) {
    const type = `-H ${quoted(`Content-Type: ${file.type}`)}`, body = `--data-binary ${quoted(`@${name}`)}`;
    return lines(["curl", key && HEAD, type, body, quoted(url + query(parameters))]);
  }
  const fields = Object.entries(parameters).map(([field, value]) =>
    `--form-string ${quoted(`${field}=${typeof value === "string" ? value : JSON.stringify(value)}`)}`);
  return lines(["curl", key && HEAD, ...fields, `-F ${quoted(`${operation.file}=@${inForm(name)}`)}`, quoted(url)]);
}

/** A value as Python writes it. */
function python(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, one]) => `${python(key)}: ${python(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}

/** Python with nothing but its library: JSON and base64, as any server of this API takes it. */
export function pythonFile(operation, file, parameters, key) {
  const fields = { ...parameters };
  if (operation.typed) fields.fileType = file.type === "application/pdf" ? 0 : 1;
  const given = Object.entries(fields).map(([name, value]) => `    ${python(name)}: ${python(value)},`);
  return [
    "import base64", "import json", ...(key ? ["import os"] : []), "import urllib.request", "",
    `with open(${python(pathOf(file.name))}, "rb") as file:`,
    "    content = base64.b64encode(file.read()).decode()",
    "body = {", `    ${python(operation.file)}: content,`, ...given, "}",
    'headers = {"Content-Type": "application/json"}',
    ...(key ? ['headers["Authorization"] = "Bearer " + os.environ["API_KEY"]'] : []),
    `request = urllib.request.Request(${python(address(operation.path))}, json.dumps(body).encode(), headers)`,
    "with urllib.request.urlopen(request) as answer:",
    '    print(json.dumps(json.load(answer)["result"], ensure_ascii=False))', "",
  ].join("\n");
}
