// Strips over time: the whole run with a window to drag, the share of ranks that compute, and memory.
// Shares come from sums over time of all ranks' states, so a column is exact however much is in it.
"use strict";

const STATE_KINDS = ["compute", "communication", "waiting"];

// Sums over time of how many ranks are in each kind of state.
class Occupancy {
  constructor(trace) {
    const turns = [];
    trace.states.forEach((own) => {
      for (let k = 0; k < own.count; k += 1) {
        const kind = STATE_KINDS.indexOf(trace.categories[own.category[k]].kind);
        turns.push([own.start[k], kind, 1], [own.end[k], kind, -1]);
      }
    });
    turns.sort((a, b) => a[0] - b[0]);
    this.times = Float64Array.from(turns, ([time]) => time);
    this.now = STATE_KINDS.map(() => new Int32Array(turns.length)); // ranks in it from this time on
    this.sum = STATE_KINDS.map(() => new Float64Array(turns.length)); // rank-ns until this time
    const [now, sum] = [[0, 0, 0], [0, 0, 0]];
    turns.forEach(([time, kind, change], k) => {
      const passed = k ? time - this.times[k - 1] : 0;
      now.forEach((ranks, c) => {
        sum[c] += ranks * passed;
        this.sum[c][k] = sum[c];
      });
      now[kind] += change;
      now.forEach((ranks, c) => {
        this.now[c][k] = ranks;
      });
    });
  }

  // rank-ns in a kind up to a time
  until(kind, time) {
    const k = bisect(this.times, time, true) - 1;
    return k < 0 ? 0 : this.sum[kind][k] + this.now[kind][k] * (time - this.times[k]);
  }

  share(kind, from, to, ranks) {
    return (this.until(kind, to) - this.until(kind, from)) / ((to - from) * Math.max(ranks, 1));
  }
}

function drawOccupancy(context, occupancy, trace, box, from, to) {
  const { computing, communication, waiting, panel } = theme.colours;
  const pens = [computing, communication, hatch(context, waiting, panel)];
  const step = 1;
  for (let x = 0; x < box.width; x += step) {
    const [a, b] = [from + (x / box.width) * (to - from), from + ((x + step) / box.width) * (to - from)];
    let base = box.y + box.height;
    pens.forEach((pen, kind) => {
      const h = occupancy.share(kind, a, b, trace.ranks.length) * box.height;
      context.fillStyle = pen;
      context.fillRect(box.x + x, base - h, step, h);
      base -= h;
    });
  }
}

class Overview {
  constructor(canvas, occupancy, trace, view, lanes) {
    Object.assign(this, { canvas, occupancy, trace, view, lanes });
  }

  x(time) {
    return this.lanes.gutter + (time / this.view.end) * this.lanes.plot;
  }

  time(x) {
    return ((x - this.lanes.gutter) / this.lanes.plot) * this.view.end;
  }

  draw() {
    const { context, height } = prepare(this.canvas);
    const box = { x: this.lanes.gutter, y: 4, width: this.lanes.plot, height: height - 8 };
    context.font = font(0.85);
    context.fillStyle = theme.colours.soft;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText("whole run", this.lanes.gutter - 8, height / 2);
    drawOccupancy(context, this.occupancy, this.trace, box, 0, this.view.end);
    const [x0, x1] = [Math.max(this.x(this.view.from), box.x), Math.min(this.x(this.view.to), box.x + box.width)];
    context.globalAlpha = 0.68;
    context.fillStyle = theme.colours.panel;
    context.fillRect(box.x, 0, x0 - box.x, height);
    context.fillRect(x1, 0, box.x + box.width - x1 + 1, height);
    context.globalAlpha = 1;
    context.lineWidth = 2;
    context.strokeStyle = theme.colours.ink;
    context.strokeRect(x0, 2, Math.max(x1 - x0, 3), height - 4);
  }
}

class Strips {
  constructor(canvas, occupancy, trace, view, lanes) {
    Object.assign(this, { canvas, occupancy, trace, view, lanes });
    this.memory = trace.memory.map((of) => of.host ?? of.device ?? null);
    const held = this.memory.flatMap((of) => (of ? of[1] : []));
    this.most = held.reduce((a, b) => Math.max(a, b), 0);
    this.where = trace.memory.some((of) => of.host) ? "host" : "GPU";
  }

  draw() {
    this.canvas.classList.toggle("low", !this.most);
    const { context, height } = prepare(this.canvas);
    const half = this.most ? height / 2 : height - theme.size * 1.9;
    const room = theme.size * 1.5;
    const { gutter, plot } = this.lanes;
    context.textBaseline = "middle";
    const { view, trace, occupancy } = this;
    const [from, to] = [Math.max(view.from, 0), Math.min(view.to, view.end)];
    const shares = STATE_KINDS.map((_, k) => occupancy.share(k, from, to, trace.ranks.length));
    const [compute, communicate, wait] = shares.map(shareText);
    const bubble = shareText(Math.max(1 - shares[0], 0));
    const text = `in sight ${compute} compute, ${communicate} communicate, ${wait} wait: bubble ${bubble}`;
    this.title(context, 0, "ranks that compute", text);
    const box = { x: gutter, y: room, width: plot, height: half - room - 4 };
    drawOccupancy(context, occupancy, trace, box, view.from, view.to);
    this.axis(context, room, half - 4, "all", "none");
    context.fillStyle = theme.colours.line;
    context.fillRect(0, half, this.lanes.width, 1);
    this.drawMemory(context, half + room, height - 5);
  }

  title(context, y, name, text) {
    context.textAlign = "left";
    context.font = font(0.88, 600);
    context.fillStyle = theme.colours.ink;
    context.fillText(name, this.lanes.gutter, y + theme.size * 0.85);
    const at = this.lanes.gutter + context.measureText(name).width + 10;
    context.font = font(0.88);
    context.fillStyle = theme.colours.soft;
    context.fillText(text, at, y + theme.size * 0.85, Math.max(this.lanes.width - at - 8, 1));
  }

  axis(context, top, bottom, high, low) {
    context.textAlign = "right";
    context.font = font(0.8);
    context.fillStyle = theme.colours.soft;
    context.fillText(high, this.lanes.gutter - 8, top + theme.size * 0.4);
    context.fillText(low, this.lanes.gutter - 8, bottom - theme.size * 0.35);
  }

  drawMemory(context, top, bottom) {
    const { lanes, view } = this;
    const above = top - theme.size * 1.5;
    if (!this.most) {
      this.title(context, above, "memory", "not recorded in this trace");
      return;
    }
    const rank = this.memory.findIndex((of) => of && of[1].includes(this.most));
    const text = `a line a rank, at most ${bytesText(this.most)}, on rank ${this.trace.ranks[rank]}`;
    this.title(context, above, `memory (${this.where})`, text);
    this.axis(context, top, bottom, bytesText(this.most), "0");
    const y = (bytes) => bottom - (bytes / this.most) * (bottom - top);
    context.save();
    context.beginPath();
    context.rect(lanes.gutter, top - 2, lanes.plot, bottom - top + 4);
    context.clip();
    this.memory.forEach((of, row) => {
      if (!of) return;
      const [times, held] = of;
      const first = Math.max(bisect(times, view.from, true) - 1, 0);
      const beyond = bisect(times, view.to, true);
      context.strokeStyle = theme.colours.accent;
      context.lineWidth = row === rank ? 2 : 1;
      context.globalAlpha = row === rank ? 1 : 0.5;
      context.beginPath();
      for (let k = first; k < beyond; k += 1) {
        if (k > first) context.lineTo(lanes.x(times[k]), y(held[k - 1]));
        context.lineTo(lanes.x(times[k]), y(held[k]));
      }
      if (beyond > first) context.lineTo(lanes.x(Math.min(view.to, view.end)), y(held[beyond - 1]));
      context.stroke();
    });
    context.restore();
    context.globalAlpha = 1;
  }
}
