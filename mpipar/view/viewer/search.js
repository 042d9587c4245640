// Search: words that all have to occur in an event's operation, algorithm, phase, scope, call site or
// communicator, or in those of the collective that it is part of; also 2>3 (messages from rank 2 to
// rank 3), rank:2, step:5 and tag:1.
"use strict";

class Search {
  constructor(trace, view) {
    Object.assign(this, { trace, view });
    const fields = ["op", "algorithm", "phase", "scope", "site", "comm", "dtype"];
    this.texts = trace.kinds.map((kind) => fields.map((name) => kind[name]).join(" ").toLowerCase());
  }

  // a test of an event, made of one word
  test(word) {
    const { events, ranks } = this.trace;
    const pair = /^(\d+)(?:>|→)(\d+)$/.exec(word);
    if (pair) {
      const [from, to] = [Number(pair[1]), Number(pair[2])];
      return (e) => {
        const { op } = this.trace.kinds[events.kind[e]];
        const [own, peer] = [ranks[events.row[e]], events.peer[e]];
        return (SENDS.has(op) && own === from && peer === to) || (RECEIVES.has(op) && own === to && peer === from);
      };
    }
    const field = /^(rank|step|tag):(\d+)$/.exec(word);
    if (field) {
      const wanted = Number(field[2]);
      if (field[1] === "rank") return (e) => ranks[events.row[e]] === wanted;
      return (e) => events[field[1]][e] === wanted;
    }
    const holds = this.texts.map((text) => text.includes(word));
    return (e) => holds[events.kind[e]] || (events.parent[e] >= 0 && holds[events.kind[events.parent[e]]]);
  }

  run(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const { view, trace } = this;
    if (!words.length) {
      [view.matches, view.found] = [null, []];
    } else {
      const tests = words.map((word) => this.test(word));
      view.matches = new Uint8Array(trace.events.count);
      view.found = [];
      for (let e = 0; e < trace.events.count; e += 1) {
        if (!tests.every((test) => test(e))) continue;
        view.matches[e] = 1;
        view.found.push(e);
      }
      view.found.sort((a, b) => trace.events.start[a] - trace.events.start[b]);
    }
    this.say();
    view.changed();
  }

  say() {
    const { matches, found, selected } = this.view;
    const at = found.indexOf(selected);
    const text = at < 0 ? `${found.length.toLocaleString("en")} found` : `${at + 1} of ${found.length}`;
    element("matches").value = matches ? text : "";
  }

  // the next one found (by = 1) or the one before (-1); without a search, the next event of this rank
  move(by) {
    const { view, trace } = this;
    const { events } = trace;
    if (view.matches) {
      const at = view.found.indexOf(view.selected);
      const next = at < 0 ? (by > 0 ? 0 : view.found.length - 1) : at + by;
      if (view.found.length) view.select(view.found[(next + view.found.length) % view.found.length], true);
      this.say();
      return;
    }
    if (!events.count) return;
    if (view.selected < 0) view.select(by > 0 ? 0 : events.count - 1, true);
    else if (events.row[view.selected + by] === events.row[view.selected]) view.select(view.selected + by, true);
  }
}
