// A message is an arrow from the start of its send to the end of its receive. Where more than some
// hundreds would be seen none are drawn, because they would hide all else, and a line says so.
"use strict";

const MOST_ARROWS = 700;

class Arrows {
  constructor(timeline, trace, view) {
    Object.assign(this, { timeline, lanes: timeline.lanes, trace, view });
  }

  // pairs in sight: indices of trace.sent
  visible() {
    const { view, lanes } = this;
    const [first, beyond] = this.trace.flights.range(view.from, view.to);
    const [firstRow, beyondRow] = lanes.visibleRows();
    const seen = (e) => this.trace.events.row[e] >= firstRow && this.trace.events.row[e] < beyondRow;
    const found = [];
    for (let k = first; k < beyond; k += 1) {
      const isInTime = this.trace.flights.end[k] >= view.from;
      if (isInTime && (seen(this.trace.sent[k]) || seen(this.trace.received[k]))) found.push(k);
    }
    return found;
  }

  ends(pair) {
    const { lanes, trace } = this;
    const [from, to] = [trace.sent[pair], trace.received[pair]];
    const [above, below] = [lanes.bandOf(from), lanes.bandOf(to)];
    return {
      x0: lanes.x(trace.events.start[from]), y0: above.y + above.height / 2,
      x1: lanes.x(trace.events.end[to]), y1: below.y + below.height / 2,
    };
  }

  draw() {
    const { context } = this.timeline;
    const pairs = this.view.showArrows ? this.visible() : [];
    const { events, pairOf } = this.trace;
    const strong = new Set([this.view.selected, this.view.hovered].filter((e) => e >= 0).map((e) => pairOf[e]));
    strong.delete(-1);
    this.timeline.clip(() => {
      const dense = pairs.length > 120;
      context.globalAlpha = strong.size ? 0.25 : dense ? 0.4 : 0.85;
      const width = dense ? 0.7 : 1.3;
      if (pairs.length <= MOST_ARROWS) pairs.forEach((pair) => this.drawArrow(pair, theme.colours.arrow, width));
      context.globalAlpha = 1;
      strong.forEach((pair) => this.drawArrow(pair, theme.colours.mark, 2.4));
    });
    const many = `${countText(pairs.length, "message")} here: zoom in (W or wheel) to see their arrows`;
    if (pairs.length > MOST_ARROWS) this.say(many);
    else if (!events.count) this.say("the trace holds no events");
  }

  drawArrow(pair, colour, width) {
    const { context } = this.timeline;
    const { x0, y0, x1, y1 } = this.ends(pair);
    const angle = Math.atan2(y1 - y0, x1 - x0);
    const head = 3 + 3 * width;
    context.strokeStyle = context.fillStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1 - Math.cos(angle) * head * 0.8, y1 - Math.sin(angle) * head * 0.8);
    context.stroke();
    context.beginPath();
    context.moveTo(x1, y1);
    for (const turn of [angle + 0.38, angle - 0.38]) context.lineTo(x1 - Math.cos(turn) * head, y1 - Math.sin(turn) * head);
    context.fill();
    context.beginPath();
    context.arc(x0, y0, width + 0.7, 0, 7);
    context.fill();
  }

  // while time passes: a dot for each message on its way
  drawFlights() {
    if (this.view.cursor === null) return;
    const { context } = this.timeline;
    const { flights } = this.trace;
    const now = this.view.cursor;
    const [first, beyond] = flights.range(now, now);
    context.fillStyle = theme.colours.mark;
    for (let pair = first; pair < beyond; pair += 1) {
      if (flights.end[pair] < now) continue;
      const { x0, y0, x1, y1 } = this.ends(pair);
      const part = (now - flights.start[pair]) / Math.max(flights.end[pair] - flights.start[pair], 1);
      context.beginPath();
      context.arc(x0 + (x1 - x0) * part, y0 + (y1 - y0) * part, 4.5, 0, 7);
      context.fill();
    }
  }

  say(text) {
    const { context } = this.timeline;
    const { gutter, plot, height } = this.lanes;
    context.font = font(0.92);
    context.textAlign = "right";
    const width = context.measureText(text).width;
    context.fillStyle = theme.colours.panel;
    context.fillRect(gutter + plot - width - 18, height - theme.size * 2, width + 18, theme.size * 2 - 2);
    context.fillStyle = theme.colours.ink;
    context.fillText(text, gutter + plot - 8, height - theme.size * 1.05);
    context.textAlign = "left";
  }

  // for the tests: what is drawn, and between which events
  describe() {
    const { sent, received, events, ranks } = this.trace;
    return this.visible().map((pair) => ({
      ...this.ends(pair), sent: sent[pair], received: received[pair],
      sender: ranks[events.row[sent[pair]]], receiver: ranks[events.row[received[pair]]],
      from: events.start[sent[pair]], to: events.end[received[pair]],
    }));
  }
}
