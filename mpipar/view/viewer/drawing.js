// One step of a collective as an SVG: a card a rank with its chunks, coloured by how many ranks' numbers are in
// them, and arrows with what the messages of the step carry.
"use strict";

const TOKEN = { width: 84, height: 40 };
const CELL = { width: 62, alone: 106, height: 36, gap: 3, title: 21, margin: 5 };
const EDGE = 24; // px around the cards

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

// Whose contributions are in any of the chunks of a message
function carriedBy(carries, sets) {
  return [...new Set(carries.flatMap(([, set]) => sets[set]))].sort((a, b) => a - b);
}

// "chunk 2", "chunks 0-1"; by its tag where chunks are not known
function cargoText({ carries, tag }) {
  const chunks = carries.map(([chunk]) => chunk);
  if (!chunks.length) return `tag ${tag}`;
  return `chunk${chunks.length > 1 ? "s" : ""} ${ranksText(chunks)}`;
}

class Drawing {
  constructor(place, replay, call) {
    Object.assign(this, { place, replay, call, hops: [] });
    this.shape = shapeOf(call.algorithm, call.operation, replay.ranks.length);
    this.isLines = this.shape === "lines";
    this.places = placesOf(this.shape, replay, call.root);
    this.full = Math.max(1, ...replay.goal.flat().map((set) => replay.sets[set].length));
    this.layOut();
  }

  // the largest scale at which no two cards come close
  layOut() {
    [this.width, this.height] = [this.place.clientWidth, this.place.clientHeight];
    const chunks = this.replay.chunks.length;
    this.cellWidth = chunks > 1 ? CELL.width : CELL.alone;
    this.perLine = chunks <= 8 ? 4 : Math.ceil(Math.sqrt(2 * chunks));
    if (this.isLines || chunks <= 4) this.perLine = Math.max(chunks, 1);
    this.isNarrow = this.width < theme.size * 68;
    this.legend = theme.size * (this.isNarrow ? 4 : 2.6);
    if (this.isLines) {
      this.layOutLines(Math.max(chunks, 1));
      return;
    }
    for (this.scale = (theme.size / 13) * 1.6; this.scale > 0.12; this.scale *= 0.95) {
      this.boxes = this.boxesAt(this.scale);
      if (this.isClear(Math.min(this.scale, 1.2))) break;
    }
  }

  boxesAt(scale) {
    const { height, gap, title, margin, alone } = CELL;
    const lines = Math.ceil(this.replay.chunks.length / this.perLine);
    const across = Math.max(this.perLine * (this.cellWidth + gap) - gap, alone) * scale + 2 * margin;
    const down = (lines * (height + gap) - gap + title) * scale + 2 * margin;
    const [free, freeDown] = [this.width - across - 2 * EDGE, this.height - this.legend - down - EDGE];
    return this.places.map(([x, y]) => ({ x: EDGE + x * free, y: EDGE + y * freeDown, width: across, height: down }));
  }

  // room between cards for the messages
  isClear(scale) {
    const [across, down] = [(TOKEN.width + 46) * scale, (TOKEN.height + 10) * scale];
    const isApart = (a, b) => Math.abs(a.x - b.x) >= a.width + across || Math.abs(a.y - b.y) >= a.height + down;
    const isInside = ({ x, y, width }) => x >= 8 && y >= 8 && x + width <= this.width - 8;
    return this.boxes.every((a, i) => isInside(a) && this.boxes.every((b, j) => i >= j || isApart(a, b)));
  }

  layOutLines(chunks) {
    const each = (this.height - this.legend - 10) / this.replay.ranks.length;
    const name = theme.size * 3;
    const cell = Math.min((this.width * 0.72 - name) / chunks, CELL.width);
    this.line = { cell, each, name };
    const width = name + chunks * cell;
    this.boxes = this.replay.ranks.map((_, k) => ({ x: 10, y: 6 + k * each, width, height: each }));
  }

  cellBox(rank, chunk) {
    const box = this.boxes[rank];
    if (this.isLines) {
      const { cell, each, name } = this.line;
      const [width, height] = [cell - (cell > 6 ? 1 : 0), each - (each > 4 ? 1 : 0)];
      return { x: box.x + name + chunk * cell, y: box.y, width, height };
    }
    const { height, gap, title, margin } = CELL;
    const [column, line] = [chunk % this.perLine, Math.floor(chunk / this.perLine)];
    const x = box.x + margin + column * (this.cellWidth + gap) * this.scale;
    const y = box.y + margin + (title + line * (height + gap)) * this.scale;
    return { x, y, width: this.cellWidth * this.scale, height: height * this.scale };
  }

  // state: {sets[rank][chunk], values}; hops: those of the step; part: how far they have come, 0 to 1
  draw(state, hops, part) {
    this.hops = hops;
    const label = "ranks, their chunks and the messages of this step";
    const picture = svg("svg", { viewBox: `0 0 ${this.width} ${this.height}`, role: "img", "aria-label": label });
    picture.append(...this.ways());
    this.replay.ranks.forEach((_, rank) => picture.append(...this.card(rank, state)));
    hops.forEach((hop) => picture.append(this.arrow(hop)));
    this.tokens = hops.map((hop) => ({ path: this.curve(hop), node: this.token(hop) }));
    picture.append(...this.tokens.map(({ node }) => node), ...this.legendNodes());
    this.place.replaceChildren(picture);
    this.move(part);
  }

  move(part) {
    for (const { node, path } of this.tokens) {
      const [x, y] = pointOn(path, part);
      node.setAttribute("transform", `translate(${x} ${y})`);
    }
  }

  // who ever sends to whom in this call, faintly
  ways() {
    if (this.isLines) return [];
    const name = ({ sender, receiver }) => `${Math.min(sender, receiver)} ${Math.max(sender, receiver)}`;
    const pairs = new Set(this.replay.frames.flatMap(({ hops }) => hops.map(name)));
    const style = { stroke: theme.colours.line, "stroke-width": 2, "stroke-dasharray": "2 6" };
    return [...pairs].map((pair) => {
      const [[x1, y1], [x2, y2]] = pair.split(" ").map((rank) => centre(this.boxes[rank]));
      return svg("line", { x1, y1, x2, y2, ...style });
    });
  }

  card(rank, state) {
    const nodes = this.isLines ? this.lineName(rank) : this.cardFrame(rank);
    this.replay.chunks.forEach((_, chunk) => nodes.push(...this.cell(rank, chunk, state)));
    return nodes;
  }

  lineName(rank) {
    const { each } = this.line;
    if (rank % Math.ceil((theme.size * 1.1) / each)) return [];
    const size = theme.size * 0.85;
    const at = { x: 10 + theme.size * 2.3, y: this.boxes[rank].y + each / 2 + size * 0.35, "text-anchor": "end" };
    return [svg("text", { ...at, "font-size": size, "font-weight": 600 }, String(this.replay.ranks[rank]))];
  }

  cardFrame(rank) {
    const { x, y, width, height } = this.boxes[rank];
    const number = this.replay.ranks[rank];
    const size = Math.max(Math.min(14 * this.scale, 22), 9);
    const at = { x: x + CELL.margin + 2, y: y + CELL.margin + 14 * this.scale };
    const name = `rank ${number}${this.call.root === number ? " (root)" : ""}`;
    return [
      svg("rect", { x, y, width, height, rx: 7, fill: theme.colours.page, stroke: theme.colours.line }),
      svg("text", { ...at, "font-size": size, "font-weight": 600 }, name),
    ];
  }

  cell(rank, chunk, state) {
    const box = this.cellBox(rank, chunk);
    const held = this.replay.sets[state.sets[rank][chunk]];
    const goal = this.replay.sets[this.replay.goal[rank][chunk]];
    const isDone = goal.length > 0 && String(held) === String(goal);
    const numbers = state.values?.[rank]?.[chunk] ?? null;
    const fill = held.length ? this.colour(held) : theme.colours.empty;
    const rect = svg("rect", { ...box, rx: Math.min(3, box.width / 6), fill }, this.cellTitle(rank, chunk, held, numbers));
    if (isDone && Math.min(box.width, box.height) > 7) {
      rect.setAttribute("stroke", theme.colours.ink);
      rect.setAttribute("stroke-width", "2.4");
    }
    const ink = held.length ? inkOn(fill) : theme.colours.soft;
    return [rect, ...this.cellTexts(box, held, numbers, ink)];
  }

  cellTitle(rank, chunk, held, numbers) {
    const what = held.length ? this.contributions(held) : "nothing";
    const equal = numbers ? ` = ${numbersText(numbers, 12)}` : "";
    return svg("title", {}, `rank ${this.replay.ranks[rank]}, chunk ${chunk}: ${what}${equal}`);
  }

  cellTexts({ x, y, width, height }, held, numbers, ink) {
    if (width < 20 || height < 9) return [];
    const texts = [held.length ? this.contributions(held) : "·"];
    if (numbers && height > 21) texts.push(numbersText(numbers, 3));
    const places = texts.length > 1 ? [0.36, 0.76] : [0.58];
    const highest = height * (texts.length > 1 ? 0.36 : 0.46);
    return texts.map((text, k) => {
      const size = Math.max(Math.min(highest, (width * 1.72) / Math.max(text.length, 3), 17), 6);
      const at = { x: x + width / 2, y: y + height * places[k] + size * 0.2, "text-anchor": "middle" };
      const node = svg("text", { ...at, "font-size": size, class: "cell" }, text);
      node.style.fill = ink;
      return node;
    });
  }

  colour(held) {
    return scaleColour(this.full > 1 ? 0.12 + (0.88 * (held.length - 1)) / (this.full - 1) : 0.85);
  }

  contributions(held) {
    return `${this.call.reduction ? "Σ" : "from "}${ranksText(held)}`;
  }

  // from the edge of one card to that of the other, bowed, so that two opposite ones do not meet
  curve({ sender, receiver }) {
    const [a, b] = [this.boxes[sender], this.boxes[receiver]];
    if (this.isLines) {
      const [x, y0, y1] = [a.x + a.width + 4, a.y + a.height / 2, b.y + b.height / 2];
      const out = Math.min(30 + Math.abs(y1 - y0) * 0.6, this.width - x - 20);
      return [[x, y0], [x + out, (y0 + y1) / 2], [x, y1]];
    }
    const [from, to] = [centre(a), centre(b)];
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    const length = Math.hypot(dx, dy) || 1;
    const bow = this.bow(sender, receiver, Math.abs(dx) / length, Math.abs(dy) / length);
    const x = (from[0] + to[0]) / 2 - (dy / length) * bow;
    const y = (from[1] + to[1]) / 2 + (dx / length) * bow;
    const control = [x, Math.min(Math.max(y, 0), this.height - this.legend)];
    return [edgeOf(a, control, 3), control, edgeOf(b, control, 7)];
  }

  // px by which a message's way leaves the straight line: round a card in between, beside its opposite
  bow(sender, receiver, across, down) {
    const [from, to] = [centre(this.boxes[sender]), centre(this.boxes[receiver])];
    const isOther = (k) => k !== sender && k !== receiver;
    const crosses = this.boxes.some((box, k) => isOther(k) && isBetween(centre(box), from, to, box));
    if (crosses) return this.boxes[sender].height + TOKEN.height * 1.5 * this.scale;
    const isOpposite = this.hops.some((hop) => hop.sender === receiver && hop.receiver === sender);
    const beside = across * TOKEN.height + down * TOKEN.width * Math.max(this.scale, 0.6);
    return isOpposite ? beside * 0.75 + 10 : 14;
  }

  arrow(hop) {
    const [from, control, to] = this.curve(hop);
    const angle = Math.atan2(to[1] - control[1], to[0] - control[0]);
    const head = this.isLines ? 5 : 11;
    const wing = (turn) => `${to[0] - Math.cos(angle + turn) * head},${to[1] - Math.sin(angle + turn) * head}`;
    const line = { fill: "none", stroke: theme.colours.arrow, "stroke-width": this.isLines ? 0.8 : 2.2 };
    return svg("g", { class: "arrow" },
      svg("path", { d: `M${from} Q${control} ${to}`, ...line }),
      svg("polygon", { points: `${to} ${wing(0.42)} ${wing(-0.42)}`, fill: theme.colours.arrow }));
  }

  // what travels: the chunk's number, and what is in it
  token(hop) {
    const held = carriedBy(hop.carries, this.replay.sets);
    const fill = held.length ? this.colour(held) : theme.colours.unnamed;
    const edge = { stroke: theme.colours.ink, "stroke-width": this.isLines ? 0.7 : 1.3 };
    if (this.isLines) return svg("circle", { r: 3, fill, ...edge });
    const first = cargoText(hop);
    const second = hop.values ? numbersText(hop.values, 3) : held.length ? this.contributions(held) : "";
    const size = Math.max(Math.min(12.5 * this.scale, 17), 8);
    const width = Math.max(first.length * 1.12, second.length, 7) * size * 0.57 + 12;
    const height = size * (second ? 2.75 : 1.6);
    const text = (words, y, weight) => {
      const node = svg("text", { y, "text-anchor": "middle", "font-size": size, "font-weight": weight }, words);
      node.style.fill = inkOn(fill);
      return node;
    };
    const node = svg("g", { class: "token" },
      svg("rect", { x: -width / 2, y: -height / 2, width, height, rx: 5, fill, ...edge }),
      text(first, size * (second ? -0.22 : 0.35), 600));
    if (second) node.append(text(second, size * 1.02, 400));
    return node;
  }

  // what colours and edges mean
  legendNodes() {
    if (!this.replay.chunks.length) return [];
    const size = theme.size;
    const y = this.height - this.legend / 2 + size * (this.isNarrow ? -0.4 : 0.3);
    const text = (at, words) => svg("text", { y, "font-size": size * 0.92, ...at }, words);
    const nodes = [text({ x: 14 }, this.full > 1 ? "in a chunk: the numbers of 1" : "coloured: the chunk is here")];
    const samples = this.full > 1 ? Math.min(this.full, 8) : 0;
    const [begin, width] = [14 + size * 12.7, size * 1.5];
    for (let k = 0; k < samples; k += 1) {
      const fill = scaleColour(0.12 + (0.88 * k) / (samples - 1));
      nodes.push(svg("rect", { x: begin + k * width, y: y - size * 0.85, width, height: size * 1.1, fill }));
    }
    const { reduction } = this.call;
    const sum = reduction ? `  ·  Σ0-2: ${reduction} over ranks 0 to 2` : "";
    if (samples) nodes.push(text({ x: begin + samples * width + 6 }, `${countText(this.full, "rank")}${sum}`));
    const place = this.isNarrow ? { x: 14, y: y + size * 1.5 } : { x: this.width - 14, "text-anchor": "end" };
    return [...nodes, text(place, "▣ thick edge: as it is to be at the end")];
  }
}
