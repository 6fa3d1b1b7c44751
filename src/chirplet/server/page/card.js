/**
 * The card of an artifact: the Markdown that model cards use, made of elements, in a dialog.
 * Labels and names in a card may come from anywhere, so nothing in it is parsed as HTML, and what is not known here stays
 * text.
 */

import { byId, element } from "./dom.js";
import { Problem, ask } from "./server.js";

export async function openCard(model) {
  byId("card-title").textContent = `Card of ${model.name}`;
  byId("card-text").replaceChildren(element("p", {}, "Reading …"));
  byId("card").showModal();
  try {
    const path = model.name.split("/").map(encodeURIComponent).join("/");
    const response = await ask(`models/${path}/card`);
    byId("card-text").replaceChildren(...blocks(await response.text()));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    byId("card-text").replaceChildren(element("p", {}, error.message));
  }
}

const HEADING = /^(#{1,6}) +(.*)$/;
const FENCE = /^```/;
const ITEM = /^[-*] +(.*)$/;
const RULE = /^\|?(\s*:?-+:?\s*\|)*\s*:?-+:?\s*\|?$/; // the line below a table's head

/** The blocks of a Markdown text, without the metadata before it. */
export function blocks(text) {
  const lines = text.replace(/^---\n[^]*?\n---\n/, "").split(/\r?\n/);
  const nodes = [];
  while (lines.length) {
    const line = lines.shift();
    const heading = HEADING.exec(line);
    if (!line.trim()) continue;
    if (heading) nodes.push(element(`h${Math.min(6, heading[1].length + 2)}`, {}, ...inline(heading[2])));
    else if (FENCE.test(line)) nodes.push(element("pre", {}, element("code", {}, taken(lines, FENCE).join("\n"))));
    else if (line.startsWith("|") && RULE.test(lines[0] ?? "")) nodes.push(table(line, lines));
    else if (ITEM.test(line)) nodes.push(list(line, lines));
    else {
      const rest = [line];
      while (lines.length && lines[0].trim() && !/^(#|```|\||[-*] )/.test(lines[0])) rest.push(lines.shift());
      nodes.push(element("p", {}, ...inline(rest.join(" "))));
    }
  }
  return nodes;
}

/** Takes the lines before one that matches `end`, and that one. */
function taken(lines, end) {
  const at = lines.findIndex((line) => end.test(line));
  const found = lines.splice(0, at < 0 ? lines.length : at);
  lines.shift();
  return found;
}

function list(first, lines) {
  const items = [ITEM.exec(first)[1]];
  while (lines.length && lines[0].trim()) {
    const line = lines.shift();
    if (ITEM.test(line)) items.push(ITEM.exec(line)[1]);
    else items.push(`${items.pop()} ${line.trim()}`);
  }
  return element("ul", {}, ...items.map((item) => element("li", {}, ...inline(item))));
}

function table(head, lines) {
  const numeric = cells(lines.shift()).map((rule) => rule.trim().endsWith(":"));
  const cellOf = (text, column, tag) =>
    element(column ? tag : "th", { className: numeric[column] ? "number" : "" }, ...inline(text.trim()));
  const row = (line, tag) => element("tr", {}, ...cells(line).map((text, column) => cellOf(text, column, tag)));
  const body = element("tbody");
  while (lines.length && lines[0].startsWith("|")) body.append(row(lines.shift(), "td"));
  const named = cells(head).some((cell) => cell.trim());
  const parts = named ? [element("thead", {}, row(head, "th")), body] : [body];
  return element("div", { className: "scroll" }, element("table", {}, ...parts));
}

/** The cells of a line; a bar behind a backslash belongs to its cell. */
function cells(line) {
  return line.replace(/^\|/, "").replace(/\|\s*$/, "").split(/(?<!\\)\|/);
}

const MARK = new RegExp(
  [
    /(`+)(.+?)\1(?!`)/, // code
    /\*\*(.+?)\*\*/, // bold
    /\[([^\]]*)\]\((https?:[^)\s]+)\)/, // a link
    /\\([!-/:-@[-`{-~])/, // an escaped sign
    /&(lt|gt|amp|quot|#\d{1,7});/, // an entity
  ]
    .map((part) => part.source)
    .join("|"),
  "gs",
);
const NAMED = { lt: "<", gt: ">", amp: "&", quot: '"' };

/** Text with `code`, **bold**, links to web addresses, escaped signs and entities. */
function inline(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(MARK)) {
    const [whole, , code, bold, shown, address, sign, entity] = match;
    parts.push(text.slice(end, match.index));
    if (code !== undefined) parts.push(element("code", {}, code.trim()));
    else if (bold !== undefined) parts.push(element("strong", {}, ...inline(bold)));
    else if (address !== undefined) parts.push(link(address, shown));
    else if (sign !== undefined) parts.push(sign);
    else parts.push(NAMED[entity] ?? character(Number(entity.slice(1)), whole));
    end = match.index + whole.length;
  }
  return [...parts, text.slice(end)];
}

function link(address, shown) {
  return element("a", { href: address, rel: "noopener noreferrer" }, ...inline(shown));
}

function character(code, otherwise) {
  return code <= 0x10ffff ? String.fromCodePoint(code) : otherwise;
}
