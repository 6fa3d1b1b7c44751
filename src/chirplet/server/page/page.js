import { openCard } from "./card.js";
import { byId, counted } from "./dom.js";
import { Problem, askJson, useToken } from "./server.js";
import { Results } from "./results.js";
import { connectUpload } from "./upload.js";

const LIMIT = 50; // texts on the page
const PAUSE_MS = 300; // without a keystroke, before the models are asked

let models = [];
let results;
let answers = new Map(); // model's name -> Map(text -> prediction)
let asking = new AbortController();
let timer;

async function start() {
  clearTimeout(timer);
  try {
    models = (await askJson("models")).models;
  } catch (error) {
    showProblems([error], start);
    return;
  }
  showProblems([]);
  byId("token").hidden = true;
  answers = new Map(models.map((model) => [model.name, new Map()]));
  byId("ready").hidden = false;
  results = new Results(byId("results"), models, openCard);
  if (results.crowded) byId("all").checked = false;
  if (document.activeElement === document.body) byId("texts").focus();
  showViews();
  byId("upload-model").replaceChildren(...models.map(({ name }) => new Option(name)));
  byId("only-label").hidden = models.length < 2;
  await update();
}

function typedTexts() {
  return byId("texts").value.split(/\r?\n/).filter((line) => line.trim());
}

/** Shows the typed texts, and asks each model for those that it has not answered yet. */
async function update() {
  clearTimeout(timer);
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const typed = typedTexts();
  const texts = typed.slice(0, LIMIT);
  showCount(typed.length);
  for (const [name, known] of answers) {
    answers.set(name, new Map(texts.filter((text) => known.has(text)).map((text) => [text, known.get(text)])));
  }
  results.show(texts, answers);
  const problems = [];
  for (const model of models) {
    // The server computes models in turn: asked together, each would have the time of all.
    const problem = await classify(model, texts, signal);
    if (signal.aborted) return;
    if (problem) problems.push(problem);
  }
  showStatus(texts, problems);
  showProblems(problems, update);
}

/** @returns {Promise<Problem|null>} why the model did not answer */
async function classify(model, all, signal) {
  const known = answers.get(model.name);
  const unknown = [...new Set(all)].filter((text) => !known.has(text));
  results.wait(model.name, unknown.length > 0);
  if (!unknown.length) return null;
  try {
    const texts = unknown.map((text) => text.toWellFormed());
    const answer = await askJson("v1/classify", { texts, model: model.name }, signal);
    if (answer.id !== model.id) {
      timer = setTimeout(start, 1000); // another artifact has this name now; behind a proxy they may alternate
      return null;
    }
    unknown.forEach((text, index) => known.set(text, answer.predictions[index]));
    results.time(model.name, unknown.length, answer.ms);
    results.refresh(answers);
    return null;
  } catch (error) {
    if (error.name === "AbortError") return null;
    if (!(error instanceof Problem)) throw error;
    error.model = model.name;
    return error;
  } finally {
    if (!signal.aborted) results.wait(model.name, false);
  }
}

function showViews() {
  byId("results").classList.toggle("short", !byId("all").checked);
  byId("results").classList.toggle("only", byId("only").checked && models.length > 1);
}

function showCount(typed) {
  const over = typed > LIMIT;
  byId("count").classList.toggle("over", over);
  byId("count").textContent = over
    ? `${typed} texts, should be at most ${LIMIT}: the first ${LIMIT} are shown. A CSV file can have more.`
    : `${typed} of ${LIMIT} texts`;
}

function showStatus(texts, problems) {
  const differing = results.differing();
  const parts = [counted(texts.length, "text"), counted(models.length, "model")];
  if (models.length > 1 && texts.length && !problems.length) {
    parts.push(differing ? `models differ on ${counted(differing, "text")}` : "models agree");
  }
  byId("status").textContent = texts.length ? parts.join(" · ") : "Nothing typed yet.";
}

/** Says once what several models have in common. `again` is called when the server asks to wait. */
function showProblems(problems, again) {
  const place = byId("problem");
  if (!problems.length) {
    place.replaceChildren();
    return;
  }
  const locked = problems.find((problem) => problem.status === 401);
  const models = new Map();
  for (const problem of problems) {
    models.set(problem.message, [...(models.get(problem.message) ?? []), problem.model].filter(Boolean));
  }
  const lines = [...models].map(([sentence, names]) => {
    const line = document.createElement("p");
    const some = names.length && names.length < results.models.length;
    line.textContent = some ? `${names.join(", ")}: ${sentence}` : sentence;
    return line;
  });
  const wait = Math.max(...problems.map((problem) => problem.retryAfter ?? 0));
  if (locked) {
    byId("token").hidden = false;
    byId("ready").hidden = true;
    byId("token-value").focus();
  } else if (wait) {
    lines.at(-1).append(` The page tries again in ${counted(wait, "second")}.`);
    timer = setTimeout(again, 1000 * wait);
  } else {
    const button = document.createElement("button");
    button.textContent = "Try again";
    button.addEventListener("click", start);
    lines.push(button);
  }
  place.replaceChildren(...lines);
}

byId("texts").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(update, PAUSE_MS);
});
byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(byId("token-value").value);
  start();
});
byId("views").addEventListener("change", showViews);
connectUpload();
start();
