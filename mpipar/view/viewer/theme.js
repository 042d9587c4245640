// Colours and sizes for the canvases, read from style.css, so that a change of theme changes everything.
"use strict";

const theme = { colours: {}, size: 13, font: "" };

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  readTheme();
}

function setLarge(large) {
  document.documentElement.dataset.size = large ? "large" : "normal";
  element("large").setAttribute("aria-pressed", String(large));
  readTheme();
}

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const names = "page panel ink soft line grid accent chosen arrow path mark empty "
    + "computing compute-0 compute-1 compute-2 compute-3 compute-4 other unnamed communication waiting";
  for (const name of names.split(" ")) {
    theme.colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
  theme.size = parseFloat(style.getPropertyValue("--size"));
  theme.font = getComputedStyle(document.body).fontFamily;
}

// A canvas as large as its element in the screen's own pixels; returns its context, in CSS pixels, cleared.
function prepare(canvas) {
  const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, window.devicePixelRatio || 1];
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

function font(scale = 1, weight = 400) {
  return `${weight} ${theme.size * scale}px ${theme.font}`;
}

function luminance(colour) {
  const [r, g, b] = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16) / 255);
  const linear = (x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

// black or white, whichever is read better on this colour: at least 4.58 : 1
function inkOn(colour) {
  return luminance(colour) > 0.179 ? "#000000" : "#ffffff";
}

// Dark violet to yellow, after "viridis": grows in lightness, so it is read without colours too.
function scaleColour(share) {
  const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const k = Math.min(Math.floor(at), stops.length - 2);
  const mixed = stops[k].map((x, i) => Math.round(x + (stops[k + 1][i] - x) * (at - k)));
  return `#${mixed.map((x) => x.toString(16).padStart(2, "0")).join("")}`;
}

// Hatching for what waits, told from the rest without its colour
function hatch(context, colour, ground) {
  const tile = make("canvas", { width: 6, height: 6 });
  const pen = tile.getContext("2d");
  pen.fillStyle = ground;
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = colour;
  pen.lineWidth = 1.8;
  pen.beginPath();
  for (const k of [-6, 0, 6]) {
    pen.moveTo(k - 1, 7);
    pen.lineTo(k + 7, -1);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}
