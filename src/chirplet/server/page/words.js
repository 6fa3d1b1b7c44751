/** The words that carried a label, highlighted in the text. */

import { element } from "./dom.js";
import { Problem, askJson } from "./server.js";

const LISTED = 3; // words named below the text

/** What the marks and numbers mean. */
export function legend() {
  const one = element("mark", { className: "for" }, "for the label");
  const other = element("mark", { className: "against" }, "against it");
  return ["Words ", one, " and ", other, ", with the points of probability that it loses without them."];
}

export async function showWords(place, text, model, label) {
  place.ariaBusy = "true";
  try {
    const { words } = await askJson("v1/words", { text: text.toWellFormed(), model, label });
    place.replaceChildren(...content(text, label, words));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    place.replaceChildren(element("p", { className: "hint" }, error.message));
  }
  place.ariaBusy = "false";
}

function content(text, label, words) {
  const strongest = Math.max(...words.map(({ effect }) => Math.abs(effect)), 0.1);
  const marked = words.filter(({ effect }) => Math.abs(effect) >= strongest / 10);
  const ranked = [...marked].sort((one, other) => Math.abs(other.effect) - Math.abs(one.effect)).slice(0, LISTED);
  const list = element("ul", { ariaLabel: `Words that speak for or against ${label}` });
  for (const { text: word, effect } of ranked) {
    list.append(element("li", {}, element("bdi", {}, word), ` ${points(effect)}`));
  }
  const none = element("p", { className: "hint" }, "No single word matters: without any of them, the probability stays the same.");
  return [element("p", { className: "marked", dir: "auto" }, ...highlighted(text, marked, strongest)), ranked.length ? list : none];
}

/** The text with its words in <mark>; positions count code points, as the server does. */
function highlighted(text, words, strongest) {
  const characters = [...text];
  const parts = [];
  let end = 0;
  for (const word of words) {
    parts.push(characters.slice(end, word.start).join(""));
    const shown = characters.slice(word.start, word.end).join("");
    const mark = element("mark", { className: word.effect > 0 ? "for" : "against" }, shown);
    mark.style.setProperty("--strength", `${Math.round(100 * Math.abs(word.effect) / strongest)}%`);
    mark.title = points(word.effect);
    parts.push(mark);
    end = word.end;
  }
  return [...parts, characters.slice(end).join("")];
}

/** The effect in percentage points: 0.41 -> "+41". */
function points(effect) {
  return `${effect < 0 ? "−" : "+"}${Math.round(100 * Math.abs(effect))}`;
}
