// Where things are on the timeline: time to x and back, the height of a rank's row and the bands in it.
// Drawing, picking with the mouse and the tests all ask here, so they cannot disagree.
//
//     ┌ a row ────────────────────────────┐
//     │ state: compute / talk / wait      │  half of the row; all of it where rows are low
//     │ sends      ■■   ■■                │
//     │ receives      □□   □□             │
//     └───────────────────────────────────┘
"use strict";

const LOWEST_ROW = 5; // px
const LOWEST_WITH_MESSAGES = 26;

class Lanes {
  constructor(canvas, trace, view) {
    Object.assign(this, { canvas, trace, view });
    this.measure();
  }

  measure() {
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.gutter = Math.round(theme.size * 5.2);
    this.ruler = Math.round(theme.size * 1.9);
    this.plot = Math.max(this.width - this.gutter - 8, 1);
    const count = Math.max(this.trace.ranks.length, 1);
    const fitting = (this.height - this.ruler - 4) / count;
    this.rowHeight = Math.max(Math.min(fitting, 150), LOWEST_ROW) * this.view.tall;
    const hidden = Math.max(count * this.rowHeight + this.ruler + 4 - this.height, 0);
    this.view.scroll = Math.min(Math.max(this.view.scroll, 0), hidden);
  }

  x(time) {
    return this.gutter + ((time - this.view.from) / (this.view.to - this.view.from)) * this.plot;
  }

  time(x) {
    return this.view.from + ((x - this.gutter) / this.plot) * (this.view.to - this.view.from);
  }

  top(row) {
    return this.ruler + row * this.rowHeight - this.view.scroll;
  }

  row(y) {
    const row = Math.floor((y - this.ruler + this.view.scroll) / this.rowHeight);
    return y >= this.ruler && row >= 0 && row < this.trace.ranks.length ? row : -1;
  }

  visibleRows() {
    const first = Math.max(Math.floor(this.view.scroll / this.rowHeight), 0);
    const last = Math.ceil((this.view.scroll + this.height - this.ruler) / this.rowHeight);
    return [first, Math.min(last, this.trace.ranks.length)];
  }

  // {y, height} of each band; sends and receives are null where the row is too low for them
  bands(row) {
    const h = this.rowHeight;
    const gap = h >= 60 ? 9 : h >= 14 ? 3 : h >= 7 ? 1 : 0;
    const [top, inner] = [this.top(row) + gap, h - 2 * gap];
    if (h < LOWEST_WITH_MESSAGES) return { state: { y: top, height: inner }, sends: null, receives: null };
    const low = Math.max((inner * 0.48 - 4) / 2, 3);
    return {
      state: { y: top, height: inner - 2 * low - 4 },
      sends: { y: top + inner - 2 * low - 2, height: low },
      receives: { y: top + inner - low, height: low },
    };
  }

  bandOf(event) {
    const { op } = this.trace.kinds[this.trace.events.kind[event]];
    const bands = this.bands(this.trace.events.row[event]);
    return (SENDS.has(op) && bands.sends) || (RECEIVES.has(op) && bands.receives) || bands.state;
  }

  // where an event is drawn: {x, y, width, height}
  box(event) {
    const { start, end } = this.trace.events;
    const [x0, x1] = [this.x(start[event]), this.x(end[event])];
    const { y, height } = this.bandOf(event);
    return { x: x0, y, width: Math.max(x1 - x0, 1), height };
  }

  // what is at a point: an event, a state, or nothing
  pick(x, y) {
    const row = this.row(y);
    const nothing = { row, event: -1, state: -1 };
    if (row < 0 || x < this.gutter) return nothing;
    const [time, slack] = [this.time(x), this.time(x + 2) - this.time(x)];
    const { sends, receives } = this.bands(row);
    const own = this.trace.rows[row];
    if (sends && y >= sends.y - 2) {
      const event = y < receives.y - 1 ? own.sends.at(time, slack) : own.receives.at(time, slack);
      return { ...nothing, event };
    }
    const state = this.trace.states[row].lane.at(time);
    if (state < 0) return nothing;
    return { ...nothing, state, event: this.trace.states[row].event[state] };
  }
}
