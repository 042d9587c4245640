// Bytes, times and counts as people read them (the rules of mpipar/view/units.py), and elements of the page.
// Whatever comes from a trace becomes a text node: no string is ever read as HTML.
"use strict";

function threeDigits(x) {
  return Math.abs(x) >= 100 ? x.toFixed(0) : String(Number(x.toPrecision(3)));
}

function bytesText(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (Math.abs(n) >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return `${unit ? n.toFixed(1) : n.toFixed(0)} ${units[unit]}`;
}

function timeText(ns) {
  for (const [size, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) {
    if (Math.abs(ns) >= size) return `${threeDigits(ns / size)} ${unit}`;
  }
  return `${threeDigits(ns)} ns`;
}

// a point in time, to the ns or, from 1 s on, to the µs
function momentText(ns) {
  const units = [[1e9, "s", 6], [1e6, "ms", 6], [1e3, "µs", 3], [-Infinity, "ns", 0]];
  const [least, unit, digits] = units.find(([from]) => ns >= from);
  const size = Math.max(least, 1);
  return `${Number((ns / size).toFixed(digits))} ${unit}`;
}

function countText(n, unit) {
  return `${n.toLocaleString("en")} ${unit}${n === 1 ? "" : "s"}`;
}

function shareText(x) {
  if (x > 0 && x < 0.0005) return "<0.1 %";
  return x > 0 && x < 0.0095 ? `${(100 * x).toFixed(1)} %` : `${(100 * x).toFixed(0)} %`;
}

function numberText(x) {
  return typeof x === "number" ? String(Number(x.toPrecision(4))) : String(x);
}

function numbersText(values, most = 8) {
  const shown = values.slice(0, most).map(numberText).join(" ");
  return values.length > most ? `${shown} …` : shown;
}

// [0, 1, 2, 5] -> "0-2,5"
function ranksText(ranks) {
  const parts = [];
  for (let i = 0; i < ranks.length; i += 1) {
    let j = i;
    while (ranks[j + 1] === ranks[j] + 1) j += 1;
    parts.push(j > i ? `${ranks[i]}-${ranks[j]}` : `${ranks[i]}`);
    i = j;
  }
  return parts.join(",");
}

// "step/forward" -> "forward", "step/forward/0" -> "forward/0"
function innermost(scope) {
  const parts = scope.split("/");
  return parts.slice(/^\d+$/.test(parts.at(-1)) ? -2 : -1).join("/");
}

function element(id) {
  return document.getElementById(id);
}

// make("dt", {className: "soft"}, "rank", …): children are nodes or texts
function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function makeRow(cells, tag = "td") {
  return make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
}
