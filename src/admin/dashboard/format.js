// Numbers as people read them, and elements. Text only ever enters the page as text: names come from clients.
"use strict";

const $ = (id) => document.getElementById(id);
const put = (id, text) => { const at = $(id); if (at.textContent !== text) at.textContent = text; };

const whole = new Intl.NumberFormat("en");
function count(n) {
  if (n === null || n === undefined) return "–";
  if (n < 100000) return whole.format(Math.round(n));
  const units = ["k", "M", "G", "T"];
  let unit = -1;
  while (n >= 1000 && unit < units.length - 1) { n /= 1000; unit += 1; }
  return digits(n) + " " + units[unit];
}
function digits(n) { return n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2); }
function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return (unit === 0 ? n.toFixed(0) : digits(n)) + " " + units[unit];
}
function share(n) {
  if (n === null || n === undefined) return "–";
  // What is not all is not shown as all.
  if (n < 1 && n > 0.9995) return "99.9 %";
  return (n * 100).toFixed(n === 0 || n === 1 ? 0 : 1) + " %";
}
function rate(n) {
  if (n === null || n === undefined) return "–";
  return n >= 100 ? count(n) : n >= 10 ? n.toFixed(1) : n === 0 ? "0" : n.toFixed(n < 0.1 ? 2 : 1);
}
function time(us) {
  if (us === null || us === undefined) return "–";
  if (us < 1000) return Math.round(us) + " µs";
  if (us < 1000000) return +(us / 1000).toPrecision(3) + " ms";
  return +(us / 1000000).toPrecision(3) + " s";
}
function span(seconds) {
  const d = Math.floor(seconds / 86400), h = Math.floor(seconds / 3600) % 24, m = Math.floor(seconds / 60) % 60;
  if (d > 0) return d + " d " + h + " h";
  if (h > 0) return h + " h " + m + " min";
  if (m > 0) return m + " min";
  return Math.floor(seconds) + " s";
}
function clock(when) { return new Date(when).toLocaleTimeString([], { hour12: false }); }
function many(n, one, more) { return count(n) + " " + (n === 1 ? one : more); }

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
function button(className, text, label, act) {
  const element = make("button", className, text);
  element.type = "button";
  if (label) { element.title = label; element.setAttribute("aria-label", label); }
  element.addEventListener("click", act);
  return element;
}

// Rows of a table from lists of cells; a cell is text, an element, or a list of either.
function rows(body, list, none, classes = []) {
  const row = (cells) => make("tr", "", ...cells.map((cell, at) => make("td", classes[at] || "", ...[cell].flat())));
  if (list.length) { body.replaceChildren(...list.map(row)); return; }
  const cell = make("td", "none", none);
  cell.colSpan = 9;
  body.replaceChildren(make("tr", "", cell));
}

// Keeps the elements of a list whose keys stay, so that what has the focus keeps it and widths can move.
function keyed(list, items, key, create, update) {
  const old = new Map([...list.children].map((child) => [child.dataset.key, child]));
  const now = items.map((item) => {
    const name = key(item);
    const element = old.get(name) || create(item);
    element.dataset.key = name;
    update(element, item);
    return element;
  });
  const same = now.length === list.children.length && now.every((element, at) => list.children[at] === element);
  if (same) return;
  const focused = document.activeElement;
  list.replaceChildren(...now);
  if (focused && focused !== document.activeElement && list.contains(focused)) focused.focus({ preventScroll: true });
}
function bar(className, part) {
  const fill = make("span");
  fill.style.width = Math.max(0, Math.min(100, part * 100)) + "%";
  return make("div", className, fill);
}
