// What is chosen, in words: its times, partner, bytes and numbers, and the lines of source that made it.
"use strict";

class Details {
  constructor(trace, view, play) {
    Object.assign(this, { trace, view, play });
    this.shown = null;
  }

  draw() {
    const { selected, state } = this.view;
    const key = `${selected} ${state?.row} ${state?.index}`;
    if (key === this.shown) return;
    this.shown = key;
    const place = element("details");
    if (selected < 0 && !state) place.replaceChildren(...this.nothing());
    else place.replaceChildren(...(state && selected < 0 ? this.computing(state) : this.event(selected, state)));
  }

  nothing() {
    const text = "for its call, its line of source, its bytes and its partner. "
      + "Wheel or W, S zoom; drag or A, D move; ? lists the keys.";
    return [make("h2", {}, "Click on anything"), make("p", { className: "soft" }, text)];
  }

  computing({ row, index }) {
    const own = this.trace.states[row];
    const { label } = own.names[own.name[index]];
    return [
      make("h2", {}, `rank ${this.trace.ranks[row]} computes`),
      this.list([["scope", label || "none"], ...this.times(own.start[index], own.end[index])]),
    ];
  }

  event(e, state) {
    const { trace } = this;
    const { events } = trace;
    const kind = trace.kinds[events.kind[e]];
    const rank = trace.ranks[events.row[e]];
    const axis = trace.axes[kind.comm] ? `, axis ${trace.axes[kind.comm]}` : "";
    const members = countText(trace.groups[kind.comm]?.length ?? 0, "rank");
    const isMessage = SENDS.has(kind.op) || RECEIVES.has(kind.op);
    const rows = [
      ...this.times(events.start[e], events.end[e]),
      ["bytes", kind.bytes || isMessage ? bytesText(kind.bytes) : ""],
      ["array", kind.dtype ? `${kind.dtype} (${kind.shape.join(", ")})` : ""],
      ["tag", events.tag[e] >= 0 ? String(events.tag[e]) : ""],
      ["root", !isMessage && events.peer[e] >= 0 ? `rank ${events.peer[e]}` : ""],
      ["reduction", kind.reduction],
      ["communicator", kind.comm && `${kind.comm}${axis}, ${members}`],
      ["phase", kind.phase],
      ["scope", kind.scope],
      ["step", events.step[e] >= 0 ? `${events.step[e]}${kind.micro >= 0 ? `, micro-batch ${kind.micro}` : ""}` : ""],
      ["numbers", events.values.has(e) ? numbersText(events.values.get(e), 16) : ""],
      ["call site", kind.site],
    ];
    return [
      make("h2", {}, `rank ${rank}: ${eventTitle(trace, e)}`),
      ...this.waiting(e, state),
      this.list(rows.filter(([, text]) => text)),
      ...this.actions(e),
      ...this.source(kind.site),
    ];
  }

  times(start, end) {
    return [["takes", timeText(end - start)], ["from", momentText(start)], ["to", momentText(end)]];
  }

  list(rows) {
    return make("dl", {}, ...rows.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  }

  // the wait in the chosen state, or the longest one in the call
  waiting(e, state) {
    const row = this.trace.events.row[e];
    const own = this.trace.states[row];
    const [first, beyond] = own.lane.range(this.trace.events.start[e], this.trace.events.end[e]);
    let best = state && own.waiting[state.index] ? state.index : -1;
    for (let k = first; k < beyond && !state; k += 1) {
      const longer = best < 0 || own.end[k] - own.start[k] > own.end[best] - own.start[best];
      if (own.waiting[k] && own.event[k] === e && longer) best = k;
    }
    if (best < 0) return [];
    const [cause, culprit, event] = own.waiting[best];
    const text = `waited ${timeText(own.end[best] - own.start[best])} for rank ${culprit} (${cause})`;
    return [event < 0 ? make("p", {}, text) : this.link(`${text} →`, () => this.view.select(event, true))];
  }

  actions(e) {
    const { trace, view } = this;
    const links = [];
    const other = trace.partner[e];
    if (other >= 0) {
      const word = SENDS.has(trace.kinds[trace.events.kind[e]].op) ? "received" : "sent";
      const when = word === "received" ? trace.events.end[other] : trace.events.start[other];
      const text = `${word} by rank ${trace.ranks[trace.events.row[other]]} at ${momentText(when)} → (M)`;
      links.push(this.link(text, () => view.select(other, true)));
    }
    const parent = trace.events.parent[e];
    if (parent >= 0) {
      links.push(this.link(`part of ${eventTitle(trace, parent)} ↑`, () => view.select(parent, true)));
    }
    const call = this.play.callOf(parent >= 0 ? parent : e);
    if (call >= 0) links.push(make("button", { onclick: () => this.play.open(call) }, "▶ play this collective"));
    return links.length ? [make("div", { className: "actions" }, ...links)] : [];
  }

  link(text, onclick) {
    return make("button", { className: "link", onclick }, text);
  }

  source(site) {
    if (!site) return [];
    if (!this.trace.sources[site]) {
      return [make("p", { className: "soft" }, "its source was not found when this page was written")];
    }
    const [first, lines, note] = this.trace.sources[site];
    const line = Number(site.split(":").at(-1));
    const indents = lines.filter((text) => text.trim()).map((text) => text.length - text.trimStart().length);
    const indent = Math.min(...indents, Infinity);
    const rows = lines.map((text, k) => {
      const number = make("span", {}, String(first + k));
      return make("div", { className: first + k === line ? "here" : "" }, number, text.slice(indent) || " ");
    });
    const shown = make("pre", { className: "source" }, ...rows);
    return note ? [make("p", { className: "soft" }, note), shown] : [shown];
  }
}
