// The keyboard: one table, from which keys are obeyed and the help is written.
"use strict";

// [keys, what they do, action, only in this view]
function keyTable(app) {
  const { view, search, player } = app;
  const tab = (name) => () => showTab(view, name);
  return [
    [["w", "arrowup", "+", "="], "W ↑ +", "zoom in", () => view.zoom(1.5), "timeline"],
    [["s", "arrowdown", "-"], "S ↓ -", "zoom out", () => view.zoom(1 / 1.5), "timeline"],
    [["a", "arrowleft"], "A ←", "earlier", () => view.pan(-0.2), "timeline"],
    [["d", "arrowright"], "D →", "later", () => view.pan(0.2), "timeline"],
    [["f", "0"], "F 0", "the whole run", () => view.all(), "timeline"],
    [["z"], "Z", "zoom to what is chosen", () => app.zoomToChosen(), "timeline"],
    [["pagedown"], "page ↓", "further ranks", () => app.scroll(0.8), "timeline"],
    [["pageup"], "page ↑", "back to the first ranks", () => app.scroll(-0.8), "timeline"],
    [["]"], "]", "higher rows", () => app.tall(1.25), "timeline"],
    [["["], "[", "lower rows", () => app.tall(0.8), "timeline"],
    [["n"], "N", "next: of what is found, or of the rank", () => search.move(1), "timeline"],
    [["p"], "P", "the one before", () => search.move(-1), "timeline"],
    [["m"], "M", "the other side of a message", () => app.partner(), "timeline"],
    [["c"], "C", "critical path", () => app.togglePath(), "timeline"],
    [["x"], "X", "arrows", () => app.toggleArrows(), "timeline"],
    [["enter"], "enter", "play the chosen collective", () => app.playChosen(), "timeline"],
    [[" "], "space", "play: let time pass", () => app.playTime(), "timeline"],
    [[" "], "space", "play, pause", () => player.toggle(), "collectives"],
    [["arrowright", "d"], "→ D", "a step forward", () => player.forward(), "collectives"],
    [["arrowleft", "a"], "← A", "a step back", () => player.go(player.at - 1), "collectives"],
    [["home"], "home", "to the start", () => player.go(0), "collectives"],
    [["end"], "end", "to the end", () => player.go(Infinity), "collectives"],
    [["n", "arrowdown"], "N ↓", "next call", () => app.nextCall(1), "collectives"],
    [["p", "arrowup"], "P ↑", "call before", () => app.nextCall(-1), "collectives"],
    [["/"], "/", "search (enter: next)", () => app.startSearch()],
    [["escape"], "Esc", "let go", () => app.letGo()],
    [["1"], "1", "timeline", tab("timeline")],
    [["2"], "2", "collectives", tab("collectives")],
    [["3"], "3", "matrix", tab("matrix")],
    [["t"], "T", "dark or light", () => app.toggleTheme()],
    [["l"], "L", "large type", () => app.toggleLarge()],
    [["?", "h"], "?", "these keys", () => app.help()],
  ];
}

function listenToKeys(app) {
  const table = keyTable(app);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || element("keys").open) return;
    const inField = event.target.matches("input");
    const key = event.key.toLowerCase();
    if (inField && (event.target.type === "search" || key.startsWith("arrow")) && key !== "escape") return;
    if (event.target.matches("button") && (key === "enter" || key === " ")) return; // its own click
    const found = table.find(([keys, , , , where]) => keys.includes(key) && (!where || where === app.view.tab));
    if (!found) return;
    event.preventDefault();
    found[3]();
  });
  // a button clicked with the mouse does not keep the keyboard: space is to play
  document.addEventListener("click", ({ target, detail }) => detail > 0 && target.closest?.("button")?.blur());
  const rows = table.flatMap(([, name, text, , where]) => [
    make("kbd", {}, name), make("span", {}, where === "collectives" ? `player: ${text}` : text),
  ]);
  const mouse = "wheel: zoom; drag, shift + wheel: move; click: choose; double click: zoom to it";
  element("key-list").replaceChildren(...rows, make("kbd", {}, "mouse"), make("span", {}, mouse));
  element("close-keys").onclick = () => element("keys").close();
}
