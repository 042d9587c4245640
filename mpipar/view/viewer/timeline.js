// The timeline: what each rank did when. Zoomed out, where states are narrower than a pixel, each column
// shows their shares as a stack, from sums over time, so no state is lost however short.
"use strict";

const LOWEST_WITH_NAMES = 62; // px: rows whose sends and receives are named

class Timeline {
  constructor(lanes, trace, view) {
    Object.assign(this, { lanes, trace, view });
    this.widths = new Map();
  }

  draw() {
    const { context } = prepare(this.lanes.canvas);
    this.context = context;
    this.lanes.measure();
    this.pens = this.trace.categories.map(({ kind, colour }) => {
      const plain = theme.colours[colour];
      const isWait = kind === "waiting";
      const fill = isWait ? hatch(context, plain, theme.colours.panel) : plain;
      return { kind, plain, fill, ink: isWait ? theme.colours.ink : inkOn(plain) };
    });
    const [first, beyond] = this.lanes.visibleRows();
    this.drawGrid(first, beyond);
    this.clip(() => {
      for (let row = first; row < beyond; row += 1) this.drawRow(row);
    });
  }

  // draws inside the plot only, not over the ranks' names
  clip(draw) {
    const { gutter, ruler, plot, height } = this.lanes;
    this.context.save();
    this.context.beginPath();
    this.context.rect(gutter, ruler, plot + 2, height - ruler);
    this.context.clip();
    draw();
    this.context.restore();
  }

  drawGrid(first, beyond) {
    const { context, lanes } = this;
    const { gutter, ruler, plot, height, rowHeight } = lanes;
    context.font = font(0.88);
    context.textBaseline = "middle";
    const ticks = niceTicks(this.view.from, this.view.to, plot / (theme.size * 8));
    for (const { time, text } of ticks) {
      const x = Math.round(lanes.x(time)) + 0.5;
      if (x < gutter - 1 || x > gutter + plot) continue;
      context.fillStyle = theme.colours.grid;
      context.fillRect(x - 0.5, ruler, 1, height);
      context.fillStyle = theme.colours.soft;
      context.textAlign = x > gutter + plot - theme.size * 3 ? "right" : "left";
      context.fillText(text, x + (context.textAlign === "left" ? 3 : -3), ruler / 2 + 1);
    }
    context.textAlign = "right";
    const every = Math.ceil((theme.size * 1.15) / rowHeight);
    for (let row = first; row < beyond; row += 1) {
      const y = lanes.top(row);
      if (rowHeight >= 14) {
        context.fillStyle = theme.colours.line;
        context.fillRect(0, Math.round(y + rowHeight), lanes.width, 1);
      }
      const { state } = lanes.bands(row);
      const middle = rowHeight < LOWEST_WITH_NAMES ? y + rowHeight / 2 : state.y + state.height / 2;
      if (row % every === 0 && middle > ruler + 4) this.nameRow(row, middle);
    }
    context.fillStyle = theme.colours.line;
    context.fillRect(0, ruler - 1, lanes.width, 1);
    context.textAlign = "left";
  }

  nameRow(row, y) {
    const { context, lanes } = this;
    context.fillStyle = theme.colours.ink;
    context.font = font(lanes.rowHeight >= 22 ? 1 : 0.85, 600);
    const name = lanes.rowHeight >= 22 ? `rank ${this.trace.ranks[row]}` : `${this.trace.ranks[row]}`;
    context.fillText(name, lanes.gutter - 8, y);
    if (lanes.rowHeight < LOWEST_WITH_NAMES) return;
    context.font = font(0.74);
    context.fillStyle = theme.colours.soft;
    const { sends, receives } = lanes.bands(row);
    context.fillText("sends", lanes.gutter - 8, sends.y + sends.height / 2);
    context.fillText("receives", lanes.gutter - 8, receives.y + receives.height / 2);
  }

  drawRow(row) {
    const own = this.trace.states[row];
    const [first, beyond] = own.lane.range(this.view.from, this.view.to);
    const { state, sends, receives } = this.lanes.bands(row);
    if (beyond - first > this.lanes.plot / 2) this.drawShares(own, state);
    else for (let k = first; k < beyond; k += 1) this.drawState(own, k, state);
    if (!sends) return;
    this.drawSlices(this.trace.rows[row].sends, sends, true);
    this.drawSlices(this.trace.rows[row].receives, receives, false);
  }

  drawState(own, k, { y, height }) {
    const { context, lanes } = this;
    const pen = this.pens[own.category[k]];
    const x0 = Math.max(lanes.x(own.start[k]), lanes.gutter - 2);
    const x1 = Math.min(lanes.x(own.end[k]), lanes.gutter + lanes.plot + 4);
    const lower = pen.kind === "compute" || height < 9 ? 0 : height * 0.25; // communication stands less high
    const width = Math.max(x1 - x0, 0.5);
    context.fillStyle = pen.fill;
    context.fillRect(x0, y + lower, width, height - lower);
    if (width < 3) return;
    context.fillStyle = pen.kind === "waiting" ? pen.plain : theme.colours.panel;
    if (pen.kind === "waiting") context.fillRect(x0, y + height - 2, width, 2);
    else context.fillRect(x1 - 0.6, y + lower, 0.6, height - lower);
    const hasRoom = width > theme.size * 2 && height - lower >= theme.size * 0.95;
    if (hasRoom) this.label(own.names[own.name[k]], pen, x0, width, y + lower, height - lower);
  }

  label({ kind, label }, pen, x, width, y, height) {
    const { context } = this;
    const text = this.fit(kind === "compute" ? innermost(label) : label, width - 8);
    if (!text) return;
    context.font = font(0.86);
    const middle = y + height / 2 + 1;
    if (kind === "waiting") {
      context.fillStyle = theme.colours.panel;
      context.fillRect(x + 3, middle - theme.size * 0.55, this.measure(text) + 4, theme.size * 1.05);
    }
    context.fillStyle = pen.ink;
    context.fillText(text, x + 5, middle);
  }

  measure(text) {
    const key = `${theme.size} ${text}`;
    if (!this.widths.has(key)) {
      this.context.font = font(0.86);
      this.widths.set(key, this.context.measureText(text).width);
    }
    return this.widths.get(key);
  }

  // the text, shortened where it is too long; "" where less than three letters would be left
  fit(text, room) {
    if (this.measure(text) <= room) return text;
    const letters = Math.floor((text.length * room) / this.measure(text)) - 1;
    return letters < 3 ? "" : `${text.slice(0, letters)}…`;
  }

  // stacks of shares, column by column; equal neighbours become one rectangle
  drawShares(own, { y, height }) {
    const { context, lanes, pens } = this;
    const step = this.trace.ranks.length > 32 ? 3 : 1;
    let before = spentUntil(own, pens.length, lanes.time(lanes.gutter), new Float64Array(pens.length));
    let after = new Float64Array(pens.length);
    let [open, openAt] = [null, 0];
    const flush = (x) => {
      let base = y + height;
      open?.forEach((h, c) => {
        if (!h) return;
        context.fillStyle = pens[c].fill;
        context.fillRect(openAt, base - h, x - openAt, h);
        base -= h;
      });
    };
    for (let x = lanes.gutter; x < lanes.gutter + lanes.plot; x += step) {
      const [from, to] = [lanes.time(x), lanes.time(x + step)];
      spentUntil(own, pens.length, to, after);
      const heights = Array.from(pens, (_, c) => Math.round(((after[c] - before[c]) / (to - from)) * height * 2) / 2);
      if (!open || heights.some((h, c) => h !== open[c])) {
        flush(x);
        [open, openAt] = [heights, x];
      }
      [before, after] = [after, before];
    }
    flush(lanes.gutter + lanes.plot);
  }

  // messages: those on one pixel are drawn once
  drawSlices(lane, { y, height }, solid) {
    const { context, lanes } = this;
    const [first, beyond] = lane.range(this.view.from, this.view.to);
    context.fillStyle = context.strokeStyle = theme.colours.communication;
    context.lineWidth = 1;
    let drawn = -Infinity;
    for (let k = first; k < beyond; k += 1) {
      const x0 = Math.max(lanes.x(lane.start[k]), lanes.gutter - 3);
      const x1 = Math.max(Math.min(lanes.x(lane.end[k]), lanes.gutter + lanes.plot + 4), x0 + 1);
      if (x1 <= drawn) continue;
      const isThin = x1 - x0 < 4;
      if (isThin) context.fillRect(x0, y, x1 - x0, height);
      else if (solid) context.fillRect(x0, y, x1 - x0 - 0.8, height); // so that two do not run together
      else context.strokeRect(x0 + 0.5, y + 0.5, x1 - x0 - 1.8, height - 1);
      drawn = isThin ? Math.floor(x1) + 0.5 : x1;
    }
  }

  // over everything else: what is found, what is chosen, and the cursor of the replay
  drawMarks() {
    const { context, lanes, view } = this;
    this.clip(() => {
      if (view.matches) this.drawMatches();
      if (view.state) this.frameState(view.state);
      else if (view.selected >= 0) this.frame(lanes.box(view.selected));
      if (view.cursor === null) return;
      const x = lanes.x(view.cursor);
      context.globalAlpha = 0.55;
      context.fillStyle = theme.colours.panel;
      context.fillRect(x, lanes.ruler, lanes.width, lanes.height);
      context.globalAlpha = 1;
      context.fillStyle = theme.colours.mark;
      context.fillRect(x - 1, lanes.ruler, 2, lanes.height);
    });
  }

  frame({ x, y, width, height }) {
    const { context } = this;
    context.lineWidth = 4;
    context.strokeStyle = theme.colours.panel;
    context.strokeRect(x - 2, y - 2, width + 4, height + 4);
    context.lineWidth = 2;
    context.strokeStyle = theme.colours.mark;
    context.strokeRect(x - 2, y - 2, width + 4, height + 4);
  }

  frameState({ row, index }) {
    const own = this.trace.states[row];
    const { y, height } = this.lanes.bands(row).state;
    const x = this.lanes.x(own.start[index]);
    this.frame({ x, y, width: Math.max(this.lanes.x(own.end[index]) - x, 1), height });
  }

  drawMatches() {
    const { context, lanes, view } = this;
    const [firstRow, beyondRow] = lanes.visibleRows();
    context.fillStyle = theme.colours.mark;
    const size = Math.min(Math.max(lanes.rowHeight / 6, 3), 7);
    for (let row = firstRow; row < beyondRow; row += 1) {
      const lane = this.trace.rows[row].all;
      const [first, beyond] = lane.range(view.from, view.to);
      let drawn = -Infinity;
      for (let k = first; k < beyond; k += 1) {
        const x = Math.max(lanes.x(lane.start[k]), lanes.gutter + 1);
        if (!view.matches[lane.ids[k]] || x - drawn < 1.5) continue;
        const { y } = lanes.bandOf(lane.ids[k]);
        context.beginPath();
        context.moveTo(x - size * 0.7, y - size * 0.7);
        context.lineTo(x + size * 0.7, y - size * 0.7);
        context.lineTo(x, y + size * 0.6);
        context.fill();
        drawn = x;
      }
    }
  }
}

// Times at round distances, with texts in one unit
function niceTicks(from, to, most) {
  const rough = (to - from) / Math.max(most, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const [size, unit] = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]].find(([s]) => to >= s) ?? [1, "ns"];
  const digits = Math.max(0, -Math.floor(Math.log10(step / size) + 1e-9));
  const ticks = [];
  for (let k = Math.max(Math.ceil(from / step), 0); k * step <= to; k += 1) {
    ticks.push({ time: k * step, text: `${((k * step) / size).toFixed(digits)} ${unit}` });
  }
  return ticks;
}
