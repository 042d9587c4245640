// Puts the page together: unpacks the trace, connects views, mouse and buttons, and draws the first frame.
// `window.mpipar` lets tests (and the curious) ask what is drawn; nothing can be changed through it.
"use strict";

class App {
  constructor(trace) {
    const view = new View(trace);
    const lanes = new Lanes(element("rows"), trace, view);
    const occupancy = new Occupancy(trace);
    const timeline = new Timeline(lanes, trace, view);
    const arrows = new Arrows(timeline, trace, view);
    const path = new CriticalPath(timeline, trace, view);
    const overview = new Overview(element("overview"), occupancy, trace, view, lanes);
    const strips = new Strips(element("strips"), occupancy, trace, view, lanes);
    const player = new Player(trace, view);
    const search = new Search(trace, view);
    const details = new Details(trace, view, player);
    const legend = new Legend(trace, view);
    const matrix = new Matrix(element("cells"), trace, view, search);
    Object.assign(this, { trace, view, lanes, timeline, arrows, path, overview, strips });
    Object.assign(this, { player, search, details, legend, matrix });
    view.drawers.timeline.push(() => this.drawTimeline());
    view.drawers.collectives.push(() => player.draw());
    view.drawers.matrix.push(() => matrix.draw());
    fillSentences(trace, view);
    this.fillHead();
    this.connect();
    listenToKeys(this);
  }

  drawTimeline() {
    this.timeline.draw();
    this.path.draw();
    this.arrows.draw();
    this.timeline.drawMarks();
    this.arrows.drawFlights();
    this.overview.draw();
    this.strips.draw();
    this.details.draw();
    this.legend.draw();
  }

  fillHead() {
    const { trace } = this;
    const [program = "trace", ...words] = trace.program;
    element("title").textContent = program.split("/").at(-1);
    const counts = [countText(trace.size, "rank"), countText(trace.events.count, "event"), timeText(trace.end)];
    element("facts").textContent = [...counts, ...trace.about].join("  ·  ");
    element("facts").title = [program, ...words].join(" ");
  }

  connect() {
    const { view } = this;
    for (const tab of document.querySelectorAll("[data-view]")) tab.onclick = () => showTab(view, tab.dataset.view);
    element("theme").onclick = () => this.toggleTheme();
    element("large").onclick = () => this.toggleLarge();
    element("help").onclick = () => this.help();
    element("show-path").onclick = () => this.togglePath();
    element("show-arrows").onclick = () => this.toggleArrows();
    element("play-time").onclick = () => this.playTime();
    element("search").oninput = () => this.search.run(element("search").value);
    element("search").onkeydown = (event) => {
      if (event.key !== "Enter") return;
      showTab(view, "timeline");
      element("rows").focus(); // where N and P go on
      this.search.move(1);
    };
    new ResizeObserver(() => view.changed()).observe(document.body);
    new ResizeObserver(() => view.changed()).observe(element("drawing"));
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    dark.onchange = () => this.setTheme(dark.matches ? "dark" : "light");
    this.setTheme(dark.matches ? "dark" : "light");
    connectMouse(this);
  }

  setTheme(name) {
    setTheme(name);
    this.player.drawing = null;
    this.view.changed();
  }

  toggleTheme() {
    this.setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  }

  toggleLarge() {
    setLarge(document.documentElement.dataset.size !== "large");
    this.view.changed();
  }

  help() {
    element("keys").showModal();
  }

  togglePath() {
    this.view.showPath = !this.view.showPath;
    element("show-path").setAttribute("aria-pressed", String(this.view.showPath));
    this.view.changed();
  }

  toggleArrows() {
    this.view.showArrows = !this.view.showArrows;
    element("show-arrows").setAttribute("aria-pressed", String(this.view.showArrows));
    this.view.changed();
  }

  zoomToChosen() {
    const { selected, state } = this.view;
    const [of, k] = state ? [this.trace.states[state.row], state.index] : [this.trace.events, selected];
    if (k < 0) return;
    const length = Math.max(of.end[k] - of.start[k], 10);
    this.view.show(of.start[k] - 0.3 * length, of.end[k] + 0.3 * length);
  }

  scroll(share) {
    this.view.scroll += share * this.lanes.height;
    this.view.changed();
  }

  tall(factor) {
    this.view.tall = Math.min(Math.max(this.view.tall * factor, 1), 40);
    this.view.changed();
  }

  partner() {
    const other = this.view.selected < 0 ? -1 : this.trace.partner[this.view.selected];
    if (other >= 0) this.view.select(other, true);
  }

  playChosen() {
    const { selected } = this.view;
    if (selected < 0) return;
    const parent = this.trace.events.parent[selected];
    const call = this.player.callOf(parent >= 0 ? parent : selected);
    if (call >= 0) this.player.open(call);
  }

  nextCall(by) {
    const { calls } = this.trace;
    let k = this.player.call + by;
    while (calls[k] && calls[k].replay < 0) k += by;
    if (calls[k]) this.player.choose(k);
  }

  startSearch() {
    element("search").focus();
    element("search").select();
  }

  letGo() {
    const { view } = this;
    [view.cursor, view.playing] = [null, false];
    element("play-time").textContent = "▶ play";
    if (document.activeElement === element("search")) element("search").blur();
    if (view.matches) {
      element("search").value = "";
      this.search.run("");
    } else view.select(-1);
    view.changed();
  }

  // time passes from the left edge to the right one, in 15 seconds; again: pause, go on
  playTime() {
    const { view } = this;
    view.playing = !view.playing;
    element("play-time").textContent = view.playing ? "❚❚ pause" : "▶ play";
    const isInSight = view.cursor !== null && view.cursor >= view.from && view.cursor < view.to;
    if (!isInSight) view.cursor = Math.max(view.from, 0);
    let before = performance.now();
    const tick = (now) => {
      if (!view.playing) return;
      view.cursor += (Math.max(now - before, 0) / 15000) * (view.to - view.from);
      before = now;
      if (view.cursor >= Math.min(view.to, view.end)) {
        [view.playing, view.cursor] = [false, null];
        element("play-time").textContent = "▶ play";
      } else requestAnimationFrame(tick);
      view.changed();
    };
    requestAnimationFrame(tick);
    view.changed();
  }
}

function showTab(view, name) {
  view.tab = name;
  for (const tab of document.querySelectorAll("[data-view]")) {
    tab.setAttribute("aria-selected", String(tab.dataset.view === name));
    element(tab.dataset.view).hidden = tab.dataset.view !== name;
  }
  showTooltip(null);
  view.changed();
}

const app = new App(unpack(JSON.parse(element("data").textContent)));
app.view.from = -0.01 * app.view.end;
app.view.to = 1.01 * app.view.end;
showTab(app.view, "timeline");
app.view.draw();
requestAnimationFrame(() => setTimeout(() => performance.mark("first frame"), 0));

window.mpipar = Object.freeze({
  arrows: () => app.arrows.describe(),
  box: (event) => app.lanes.box(event),
  replay: () => app.player.describe(),
  view() {
    const { from, to, tab, selected, found, cursor } = app.view;
    return { from, to, tab, selected, found: found.length, cursor };
  },
  event(e) {
    const { events, kinds, ranks } = app.trace;
    return { rank: ranks[events.row[e]], start: events.start[e], end: events.end[e], ...kinds[events.kind[e]] };
  },
  draw: () => app.view.draw(),
});
