// Labels texts one at a time with transformers.js: node export.mjs FOLDER < texts.json > results.json
import { readFileSync } from "node:fs";
import { env, pipeline } from "@huggingface/transformers";

env.allowRemoteModels = false;
const folder = process.argv[2];
const texts = JSON.parse(readFileSync(0, "utf8"));
const classify = await pipeline("text-classification", folder);
const rows = [];
let seconds = 0;
for (const text of texts) {
  const ids = Array.from((await classify.tokenizer(text, { truncation: true })).input_ids.data, Number);
  const started = performance.now();
  const scores = await classify(text, { top_k: null });
  seconds += (performance.now() - started) / 1000;
  rows.push({ ids, scores });
}
console.log(JSON.stringify({ rows, seconds, version: env.version, node: process.version }));
