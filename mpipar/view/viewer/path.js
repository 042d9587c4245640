// The critical path: the chain of work that nothing else delayed, as a line along the ranks it runs on.
"use strict";

class CriticalPath {
  constructor(timeline, trace, view) {
    Object.assign(this, { timeline, lanes: timeline.lanes, trace, view });
  }

  draw() {
    if (!this.view.showPath) return;
    const { context } = this.timeline;
    this.timeline.clip(() => {
      const points = this.points();
      for (const [colour, width] of [[theme.colours.panel, 8], [theme.colours.path, 4]]) {
        context.strokeStyle = colour;
        context.lineWidth = width;
        context.lineJoin = "round";
        context.beginPath();
        points.forEach(([x, y]) => context.lineTo(x, y));
        context.stroke();
      }
    });
  }

  // corners of the line in sight; a pixel that has many keeps the first, the extremes and the last
  points() {
    const { lanes, trace, view } = this;
    const points = [];
    let [column, first, low, high, last] = [NaN, 0, 0, 0, 0];
    const close = () => {
      if (!Number.isNaN(column)) points.push(...[first, low, high, last].map((y) => [column, y]));
    };
    const add = (x, y) => {
      if (Math.floor(x) !== column) {
        close();
        [column, first, low, high] = [Math.floor(x), y, y, y];
      }
      [low, high, last] = [Math.min(low, y), Math.max(high, y), y];
    };
    for (const [rank, start, end] of trace.path) {
      if (end < view.from || start > view.to) continue;
      const { state } = lanes.bands(trace.rowOf.get(rank));
      const y = state.y + state.height - 1;
      add(lanes.x(Math.max(start, view.from)), y);
      add(lanes.x(Math.min(end, view.to)), y);
    }
    close();
    return points;
  }
}
