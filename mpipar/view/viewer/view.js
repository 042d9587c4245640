// What is being looked at: the stretch of time, the chosen event, what is found, and who draws it.
// Everything that changes it calls `changed`, which lets the visible view draw once a frame.
"use strict";

class View {
  constructor(trace) {
    this.trace = trace;
    this.end = Math.max(trace.end, 1);
    Object.assign(this, {
      from: 0, to: this.end, tab: "timeline", selected: -1, state: null, hovered: -1, matches: null, found: [],
      showPath: false, showArrows: true, cursor: null, tall: 1, scroll: 0,
    });
    this.drawers = { timeline: [], collectives: [], matrix: [] };
    this.pending = false;
  }

  changed() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.draw();
    });
  }

  draw() {
    for (const draw of this.drawers[this.tab]) draw();
  }

  show(from, to) {
    const length = Math.min(Math.max(to - from, 20), this.end * 1.04);
    const centre = (from + to) / 2;
    const edge = this.end * 0.02;
    this.from = Math.min(Math.max(centre - length / 2, -edge), this.end + edge - length);
    this.to = this.from + length;
    this.changed();
  }

  zoom(factor, around = (this.from + this.to) / 2) {
    this.show(around - (around - this.from) / factor, around + (this.to - around) / factor);
  }

  pan(share) {
    const by = share * (this.to - this.from);
    const [low, high] = [-0.02 * this.end, 1.02 * this.end];
    const allowed = Math.min(Math.max(by, low - this.from), high - this.to);
    this.show(this.from + allowed, this.to + allowed);
  }

  all() {
    this.show(-0.01 * this.end, 1.01 * this.end);
  }

  // Chooses an event; `reveal` brings it into sight, with room around it.
  select(event, reveal = false) {
    this.selected = event;
    this.state = null;
    if (event >= 0 && reveal) this.reveal(this.trace.events.start[event], this.trace.events.end[event]);
    this.changed();
  }

  selectState(row, index, reveal = false) {
    const own = this.trace.states[row];
    this.selected = own.event[index];
    this.state = { row, index };
    if (reveal) this.reveal(own.start[index], own.end[index]);
    this.changed();
  }

  reveal(start, end) {
    const [length, shown] = [Math.max(end - start, 1), this.to - this.from];
    const tooWide = length < shown / 200;
    if (tooWide || length > shown) this.show(start - 4 * length, end + 4 * length);
    else if (start < this.from || end > this.to) this.show((start + end - shown) / 2, (start + end + shown) / 2);
  }
}
