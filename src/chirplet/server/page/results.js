/** The table of texts (rows) and models (columns). */

import { element, percent } from "./dom.js";
import { legend, showWords } from "./words.js";

const ROOM_FOR_TEXT = 240; // CSS pixels a column needs; with less, a text stands above its models
const ROOM_FOR_MODEL = 165;

export class Results {
  constructor(place, models, openCard) {
    this.models = models;
    this.heads = new Map(models.map((model) => [model.name, head(model, openCard)]));
    this.rows = new Map(); // text and its occurrence -> Row
    const tops = [...this.heads.values()].map(({ cell }) => cell);
    this.body = element("tbody", { role: "rowgroup" });
    const corner = element("th", { role: "columnheader", scope: "col", className: "corner" }, "Text");
    const table = element(
      "table",
      { role: "table", ariaLabel: "What each model says of each text" },
      element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, corner, ...tops)),
      this.body,
    );
    place.replaceChildren(table);
    document.documentElement.style.setProperty("--models", models.length);
    const needed = ROOM_FOR_TEXT + ROOM_FOR_MODEL * models.length;
    const arrange = () => table.classList.toggle("stacked", place.clientWidth < needed);
    new ResizeObserver(arrange).observe(place);
    this.crowded = models.length > 2 && arrange();
  }

  /** A row for each text; rows that were there before stay as they are, with what is open in them. */
  show(texts, answers) {
    const occurrences = new Map();
    const rows = new Map();
    for (const text of texts) {
      const occurrence = (occurrences.get(text) ?? 0) + 1;
      occurrences.set(text, occurrence);
      const key = `${occurrence} ${text}`;
      rows.set(key, this.rows.get(key) ?? new Row(text, this.models));
    }
    for (const [key, row] of this.rows) if (!rows.has(key)) row.node.remove();
    let after = null;
    for (const row of [...rows.values()].reverse()) {
      if (row.node.nextSibling !== after || row.node.parentNode !== this.body) this.body.insertBefore(row.node, after);
      after = row.node;
    }
    this.rows = rows;
    this.refresh(answers);
  }

  refresh(answers) {
    for (const row of this.rows.values()) row.refresh(answers);
  }

  /** Number of texts that models label differently. */
  differing() {
    return [...this.rows.values()].filter((row) => row.differs).length;
  }

  time(name, texts, ms) {
    const rounded = ms < 10 ? ms.toFixed(1) : Math.round(ms).toLocaleString("en");
    this.heads.get(name).time.textContent = `${texts === 1 ? "1 text" : `${texts} texts`} in ${rounded} ms`;
  }

  wait(name, waits) {
    this.heads.get(name).cell.classList.toggle("waits", waits);
  }
}

function head(model, openCard) {
  const time = element("p", { className: "time" }, "\u00a0");
  const card = element("button", { type: "button", ariaLabel: `Card of ${model.name}` }, "Card");
  card.addEventListener("click", () => openCard(model));
  const size = model.parameters ? `${short(model.parameters)}\u00a0parameters` : "";
  const kind = [model.runtime, model.precision, size].filter(Boolean).join(" · ");
  const name = element("bdi", { className: "name" }, ...breakable(model.name));
  const top = element("div", { className: "top" }, name, card);
  const names = { role: "columnheader", scope: "col", ariaLabel: model.name };
  const cell = element("th", names, top, element("p", {}, kind), time);
  return { cell, time };
}

/** 22713989 -> "22.7M". */
function short(number) {
  return new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(number);
}

/** A name whose lines may break behind its signs. */
function breakable(name) {
  return name.split(/(?<=[_\-./])/).flatMap((part) => [part, element("wbr")]);
}

class Row {
  constructor(text, models) {
    this.text = text;
    this.models = models;
    this.differs = false;
    this.shown = new Map(); // model's name -> the prediction in its cell
    this.cells = new Map(models.map(({ name }) => [name, element("td", { role: "cell" })]));
    this.button = element("button", { type: "button", ariaExpanded: "false", hidden: true }, "Words");
    this.button.title = "Which words carried it";
    this.button.addEventListener("click", () => this.toggleWords());
    const sign = element("span", { ariaHidden: "true" }, "≠ ");
    this.mark = element("span", { className: "differ", hidden: true }, sign, "Models differ");
    this.legend = element("p", { className: "legend", hidden: true }, ...legend());
    const foot = element("p", { className: "foot" }, this.button, this.mark);
    const shown = element("div", { className: "text", dir: "auto" }, text);
    const heading = element("th", { role: "rowheader", scope: "row", ariaLabel: text }, shown, foot, this.legend);
    this.node = element("tr", { role: "row" }, heading, ...this.cells.values());
  }

  refresh(answers) {
    for (const model of this.models) {
      const prediction = answers.get(model.name).get(this.text);
      if (prediction && prediction !== this.shown.get(model.name)) {
        this.shown.set(model.name, prediction);
        this.cells.get(model.name).replaceChildren(...cellContent(model, prediction));
        this.button.hidden = false;
        if (this.button.ariaExpanded === "true") this.openWords(model);
      }
    }
    this.differs = partsWays(this.models, this.shown);
    this.mark.hidden = !this.differs;
    this.node.classList.toggle("differs", this.differs);
  }

  toggleWords() {
    const open = this.button.ariaExpanded !== "true";
    this.button.ariaExpanded = String(open);
    this.legend.hidden = !open;
    for (const model of this.models) {
      if (open) this.openWords(model);
      else this.cells.get(model.name).querySelector(".words")?.remove();
    }
  }

  openWords(model) {
    const prediction = this.shown.get(model.name);
    if (!prediction) return;
    const place = element("div", { className: "words" });
    this.cells.get(model.name).append(place);
    showWords(place, this.text, model.name, prediction.label);
  }
}

/** Whether models with the same labels give a text different ones. */
function partsWays(models, predictions) {
  const given = new Map(); // the set of labels -> the labels given
  for (const { name, labels } of models) {
    const prediction = predictions.get(name);
    if (!prediction) continue;
    const key = JSON.stringify([...labels].sort());
    given.set(key, (given.get(key) ?? new Set()).add(prediction.label));
  }
  return [...given.values()].some((labels) => labels.size > 1);
}

const nameOf = (label) => element("span", {}, element("bdi", {}, label));

function cellContent(model, { label, probabilities, truncated }) {
  const chosen = element("p", { className: "label" }, element("strong", {}, element("bdi", {}, label)));
  chosen.append(" ", element("span", { className: "share" }, percent(probabilities[label])));
  const items = model.labels.map((name) => {
    const share = probabilities[name];
    const fill = element("span", { className: "fill" });
    fill.style.inlineSize = `${100 * share}%`;
    const shown = element("span", { className: "share" }, percent(share));
    const track = element("span", { className: "track", ariaHidden: "true" }, fill);
    return element("li", { className: name === label ? "chosen" : "" }, nameOf(name), " ", shown, track);
  });
  const content = [
    element("p", { className: "of", ariaHidden: "true" }, element("bdi", {}, ...breakable(model.name))),
    chosen,
    element("ul", { className: "bars", ariaLabel: "Probabilities" }, ...items),
  ];
  const limit = `Too long: the model reads its first ${model.max_length} tokens.`;
  return truncated ? [...content, element("p", { className: "hint" }, limit)] : content;
}
