// The collective player: the calls of the run, and one of them step by step. Frames say what changes; the
// state after step k is the initial one with the changes of steps 1 to k.
"use strict";

const STEP_MS = 1100;

class Player {
  constructor(trace, view) {
    Object.assign(this, { trace, view, call: -1, at: 0, part: 1, playing: false });
    this.still = window.matchMedia("(prefers-reduced-motion: reduce)");
    this.calls = new Map(trace.calls.flatMap((call, k) => call.events.map((e) => [e, k])));
    element("first").onclick = () => this.go(0);
    element("back").onclick = () => this.go(this.at - 1);
    element("forward").onclick = () => this.forward();
    element("last").onclick = () => this.go(Infinity);
    element("play").onclick = () => this.toggle();
    element("step").oninput = () => this.go(Number(element("step").value));
    this.fillCalls();
    this.choose(this.mostTelling());
  }

  // the call to begin with: a sum of several chunks where there is one, with numbers if possible
  mostTelling() {
    const worth = this.trace.calls.map(({ replay, reduction }) => {
      const of = this.trace.replays.played[replay];
      return of ? 1 + (of.chunks.length > 1) + 2 * (reduction !== "") + (of.values !== null) : 0;
    });
    const best = Math.max(...worth, 0);
    return best ? worth.indexOf(best) : -1;
  }

  callOf(event) {
    return this.calls.get(event) ?? -1;
  }

  fillCalls() {
    const { calls, replays } = this.trace;
    this.buttons = calls.map((call, k) => {
      const times = call.times > 1 ? `, ${call.times} calls alike` : "";
      const about = `#${call.number}${times}, ${countText(call.size, "rank")} of ${call.comm}, ${bytesText(call.bytes)}`;
      const lines = [`${call.operation} ${call.algorithm}`, make("small", {}, about), make("small", {}, call.site)];
      return make("button", { onclick: () => this.choose(k), disabled: call.replay < 0 }, ...lines);
    });
    element("calls").replaceChildren(...this.buttons.map((button) => make("li", {}, button)));
    const left = `${countText(replays.left_out, "kind")} of call cannot be played here, to keep this page small: `
      + "mpipar trace steps shows them.";
    const none = calls.length ? "" : "The trace holds no collective.";
    element("calls-note").textContent = replays.left_out ? left : none;
  }

  open(call) {
    showTab(this.view, "collectives");
    this.choose(call);
  }

  choose(k) {
    this.stop();
    this.call = k;
    this.drawing = null;
    this.buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === k)));
    this.replay = k < 0 ? null : this.trace.replays.played[this.trace.calls[k].replay] ?? null;
    this.at = this.replay?.note && !this.replay.chunks.length ? Math.min(1, this.steps) : 0;
    this.part = 1;
    element("step").max = String(this.steps);
    this.view.changed();
  }

  get steps() {
    return this.replay?.frames.length ?? 0;
  }

  go(step) {
    this.stop();
    [this.at, this.part] = [Math.min(Math.max(step, 0), this.steps), 1];
    this.view.changed();
  }

  forward() {
    if (this.at >= this.steps) return this.stop();
    [this.at, this.part, this.began] = [this.at + 1, this.still.matches ? 1 : 0, performance.now()];
    this.view.changed();
    if (!this.still.matches) requestAnimationFrame(() => this.move());
    else if (this.playing) setTimeout(() => this.playing && this.forward(), STEP_MS);
    return undefined;
  }

  move() {
    if (this.part >= 1) return;
    this.part = Math.min((performance.now() - this.began) / STEP_MS, 1);
    if (this.part < 1) {
      this.drawing?.move(ease(this.part));
      requestAnimationFrame(() => this.move());
      return;
    }
    this.view.changed();
    if (this.playing) setTimeout(() => this.playing && this.forward(), STEP_MS / 3);
  }

  toggle() {
    if (this.playing) return this.stop();
    this.playing = true;
    if (this.at >= this.steps) [this.at, this.part] = [0, 1];
    element("play").textContent = "❚❚ pause";
    return this.forward();
  }

  stop() {
    this.playing = false;
    this.part = 1;
    element("play").textContent = "▶ play";
  }

  // what every rank holds after a step
  state(step) {
    const sets = this.replay.initial.map((row) => row.slice());
    const values = this.replay.values?.map((row) => row.slice()) ?? null;
    for (const { changes } of this.replay.frames.slice(0, step)) {
      for (const [rank, chunk, set, numbers] of changes) {
        sets[rank][chunk] = set;
        if (values) values[rank][chunk] = numbers;
      }
    }
    return { sets, values };
  }

  draw() {
    const place = element("drawing");
    if (!this.replay) {
      element("call-title").textContent = "";
      place.replaceChildren(make("p", { className: "empty" }, "There is no collective to play."));
      return;
    }
    const call = this.trace.calls[this.call];
    const size = `${place.clientWidth} ${place.clientHeight} ${theme.size}`;
    if (!this.drawing || this.size !== size) this.drawing = new Drawing(place, this.replay, call);
    this.size = size;
    const title = `${call.operation} ${call.algorithm}, ${bytesText(call.bytes)} on ${countText(call.size, "rank")}`;
    element("call-title").textContent = title;
    element("step").value = String(this.at);
    const moving = this.part < 1;
    const hops = this.at ? this.replay.frames[this.at - 1].hops : [];
    this.drawing.draw(this.state(moving ? this.at - 1 : this.at), hops, moving ? ease(this.part) : 0.5);
    this.say(call, hops);
  }

  say(call, hops) {
    const note = this.replay.note ? ` (${this.replay.note})` : "";
    const before = this.steps ? `before step 1 of ${this.steps}: what the ranks begin with` : "no step to show";
    element("step-text").textContent = (this.at ? this.stepText(hops) : before) + note;
    element("bytes-text").textContent = this.bytesText(call);
    const head = makeRow(["from → to", "chunk", "holds", "numbers", "bytes", "took"], "th");
    const rows = hops.slice(0, 64).map((hop) => this.hopRow(hop));
    element("hops").replaceChildren(...(rows.length ? [head, ...rows] : []));
  }

  stepText(hops) {
    const { ranks } = this.replay;
    const named = hops.slice(0, 2).map((hop, k) => (
      `rank ${ranks[hop.sender]} → ${ranks[hop.receiver]} ${k ? "" : "sends "}${cargoText(hop)} (${bytesText(hop.bytes)})`
    ));
    const [first] = hops;
    const phase = first?.phase ? `, ${first.phase} ${first.phaseStep}/${first.phaseSteps}` : "";
    const more = hops.length > 2 ? ` and ${hops.length - 2} more` : "";
    return `step ${this.at} of ${this.steps}${phase}: ${named.join(", ")}${more}`;
  }

  bytesText(call) {
    const busiest = this.busiest();
    const so = `the busiest rank so far: ${bytesText(busiest)}`;
    if (!call.bound) return so;
    const ratio = this.at === this.steps ? `, ratio ${(busiest / call.bound).toFixed(2)}` : "";
    return `${so}; the least that it can be in the end: ${bytesText(call.bound)}${ratio}`;
  }

  hopRow(hop) {
    const { ranks, sets } = this.replay;
    const held = ranksText(carriedBy(hop.carries, sets));
    const way = `rank ${ranks[hop.sender]} → ${ranks[hop.receiver]}`;
    const numbers = hop.values ? numbersText(hop.values, 6) : "";
    const cargo = cargoText(hop).replace(/^chunks? /, "");
    return makeRow([way, cargo, held && `of ${held}`, numbers, bytesText(hop.bytes), timeText(hop.took)]);
  }

  // the most bytes that one rank has sent, or received, up to this step
  busiest() {
    const [sent, received] = [0, 0].map(() => new Float64Array(this.replay.ranks.length));
    for (const { sender, receiver, bytes } of this.replay.frames.slice(0, this.at).flatMap(({ hops }) => hops)) {
      sent[sender] += bytes;
      received[receiver] += bytes;
    }
    return Math.max(0, ...sent, ...received);
  }

  // for the tests: what is drawn
  describe() {
    if (!this.replay) return null;
    const { sets, values } = this.state(this.at);
    const held = sets.map((row) => row.map((set) => this.replay.sets[set]));
    return { step: this.at, steps: this.steps, shape: this.drawing?.shape, ranks: this.replay.ranks, held, values };
  }
}

function ease(t) {
  return t * t * (3 - 2 * t);
}
