// The call that the page makes, as others would write it: ready to be pasted into a shell or a program.

import { toBase64 } from "./inputs.js";

const LONG = 4000; // characters of base64 or JSON above which the body is taken from a file

const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const literal = (text) => JSON.stringify(text);

/** `{curl, python, javascript, client}` of a call to `url`, and the file `{name, blob}` that they read, if any. */
export async function write(call, url, { model, version, label, keyed }) {
  const body = await describe(call);
  const named = { model, version, label };
  return {
    file: body.file,
    curl: writeCurl(body, url, keyed),
    python: writePython(body, url, keyed),
    javascript: writeJavaScript(body, url, keyed),
    client: writeClient(call, body, new URL(url).origin, named, keyed),
  };
}

async function describe(call) {
  if (call.raw === "picture") {
    const base64 = await toBase64(call.body);
    const name = call.type === "image/png" ? "picture.png" : "picture.jpg";
    return base64.length <= LONG ? { type: call.type, base64 } : { type: call.type, file: { name, blob: call.body } };
  }
  const text = call.raw === "text" ? call.body : JSON.stringify(call.body);
  const type = call.raw === "text" ? "text/plain" : "application/json";
  if (text.length <= LONG) return { type, text };
  return { type, file: { name: call.raw === "text" ? "text.txt" : "body.json", blob: new Blob([text], { type }) } };
}

function writeCurl({ type, text, base64, file }, url, keyed) {
  const key = keyed ? `\n  -H "Authorization: Bearer $MODELYARD_KEY" \\` : "";
  const head = `curl -s ${quote(url)} \\${key}\n  -H 'Content-Type: ${type}' \\\n  --data-binary`;
  if (base64) return `echo ${base64} | base64 -d |\n${head} @-`;
  return `${head} ${file ? `@${file.name}` : quote(text.startsWith("@") ? ` ${text}` : text)}`;
}

function writePython({ type, text, base64, file }, url, keyed) {
  const imports = ["import json", "import urllib.request"];
  if (base64) imports.unshift("import base64");
  if (keyed) imports.splice(imports.indexOf("import urllib.request"), 0, "import os");
  if (file) imports.push("from pathlib import Path");
  const body = base64 ? `base64.b64decode(${literal(base64)})` : file ? `Path(${literal(file.name)}).read_bytes()` : `${literal(text)}.encode()`;
  const key = keyed ? `, "Authorization": f"Bearer {os.environ['MODELYARD_KEY']}"` : "";
  return [
    ...imports,
    "",
    `body = ${body}`,
    `headers = {"Content-Type": ${literal(type)}${key}}`,
    `request = urllib.request.Request(${literal(url)}, body, headers)`,
    "with urllib.request.urlopen(request, timeout=30) as response:",
    "    print(json.load(response))",
  ].join("\n");
}

function writeJavaScript({ type, text, base64, file }, url, keyed) {
  const body = base64 ? `Uint8Array.from(atob(${literal(base64)}), (char) => char.charCodeAt(0))` : file ? `await (await import("node:fs/promises")).readFile(${literal(file.name)})` : literal(text);
  const key = keyed ? ", Authorization: `Bearer ${process.env.MODELYARD_KEY}`" : "";
  return [
    `const body = ${body};`,
    `const response = await fetch(${literal(url)}, {`,
    `  method: "POST",`,
    `  headers: { "Content-Type": ${literal(type)}${key} },`,
    "  body,",
    "});",
    "console.log(await response.json());",
  ].join("\n");
}

/** With `modelyard.client`: a picture, a text or one row; any other body as it is. */
function writeClient(call, { text, base64, file }, origin, { model, version, label }, keyed) {
  const which = version ? `, version=${version}` : label ? `, label=${literal(label)}` : "";
  const plain = call.raw || (call.instance && !file);
  const value = plain ? writeValue(call, { text, base64, file }) : file ? `Path(${literal(file.name)}).read_bytes()` : toPython(call.body);
  const imports = ["from modelyard.client import Client"];
  if (file) imports.unshift("from pathlib import Path", "");
  if (keyed) imports.unshift("import os");
  if (value.includes("base64.b64decode(")) imports.unshift("import base64");
  return [
    ...imports,
    "",
    `client = Client(${literal(origin)}${keyed ? `, os.environ["MODELYARD_KEY"]` : ""})`,
    `print(client.${plain ? "predict" : "predict_raw"}(${literal(model)}, ${value}${which}))`,
  ].join("\n");
}

function writeValue(call, { text, base64, file }) {
  if (base64) return `base64.b64decode(${literal(base64)})`;
  if (file) return `Path(${literal(file.name)})${call.raw === "text" ? ".read_text()" : ""}`;
  return call.raw === "text" ? literal(text) : toPython(call.body.instances[0]);
}

function toPython(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(toPython).join(", ")}]`;
  if (typeof value === "object" && typeof value.b64 === "string") return `base64.b64decode(${literal(value.b64)})`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${literal(name)}: ${toPython(one)}`).join(", ")}}`;
  return typeof value === "string" ? literal(value) : String(value);
}
