// A client with the types of the gateway's OpenAPI document; prints what it gets as JSON.

import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.ts";

const [url, image] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl: url });
const model = "mnist_mlp";
const png = readFileSync(image);

const listed = await client.GET("/api/models");
const names: string[] = listed.data?.models.map((one) => one.name) ?? [];

const byRow = await client.POST("/v1/models/{model}:predict", {
  params: { path: { model }, query: { labels: "true" } },
  body: { instances: [{ b64: png.toString("base64") }], signature_name: "image_bytes" },
});
const row = (byRow.data as components["schemas"]["Predictions"]).predictions[0] as components["schemas"]["LabelledRow"];

const byFile = await client.POST("/v1/models/{model}/versions/{version}:predict", {
  params: { path: { model, version: 1 } },
  headers: { "Content-Type": "image/png" },
  body: png as unknown as string,
  bodySerializer: (body) => body as unknown as BodyInit,
});
const single = byFile.data as components["schemas"]["SingleLabel"];

const missing = await client.GET("/api/models/{model}", { params: { path: { model: "nothing_here" } } });
const wrong = await client.POST("/v1/models/{model}:predict", {
  params: { path: { model } },
  body: { instances: [[1]], signature_name: "serving_default" },
});

console.log(
  JSON.stringify({
    models: names,
    row: row.label,
    file: [single.label, byFile.response.headers.get("X-Model-Version")],
    missing: [missing.response.status, missing.error?.error],
    wrong: [wrong.response.status, wrong.error?.error],
  }),
);
