// The legend: what has a colour, with its share of the ranks' time in sight; what is not in sight is left out.
"use strict";

class Legend {
  constructor(trace, view) {
    Object.assign(this, { trace, view, key: "" });
  }

  // ns in sight of each category, all ranks together
  spent() {
    const { trace, view } = this;
    const width = trace.categories.length;
    const [sum, before, after] = [0, 0, 0].map(() => new Float64Array(width));
    for (const own of trace.states) {
      spentUntil(own, width, view.from, before);
      spentUntil(own, width, view.to, after);
      sum.forEach((_, c) => (sum[c] += after[c] - before[c]));
    }
    return sum;
  }

  draw() {
    const { trace, view } = this;
    const spent = this.spent();
    const all = (Math.min(view.to, view.end) - Math.max(view.from, 0)) * Math.max(trace.ranks.length, 1);
    const shown = [...spent.keys()].filter((c) => spent[c] > 0).reverse(); // waiting first
    const key = `${document.documentElement.dataset.theme} ${theme.size} ${shown}`;
    if (this.key !== key) element("legend").replaceChildren(...shown.map((c) => this.entry(trace.categories[c])));
    this.key = key;
    [...element("legend").children].forEach((entry, k) => {
      entry.lastChild.textContent = shareText(spent[shown[k]] / Math.max(all, 1));
    });
  }

  entry({ kind, label, colour }) {
    const sample = make("canvas", { width: 28, height: 28 });
    const context = sample.getContext("2d");
    context.scale(2, 2);
    const plain = theme.colours[colour];
    context.fillStyle = kind === "waiting" ? hatch(context, plain, theme.colours.panel) : plain;
    const low = kind === "compute" ? 0 : 4;
    context.fillRect(0, low, 14, 14 - low);
    return make("span", {}, sample, `${shortest(label || "in no scope", this.trace.categories)} `, make("b"));
  }
}

// the last part of a scope's path, or all of it where two end alike
function shortest(name, categories) {
  const last = name.split("/").at(-1);
  return categories.filter(({ label }) => label.split("/").at(-1) === last).length > 1 ? name : last;
}
