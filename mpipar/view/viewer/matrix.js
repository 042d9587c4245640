// The communication matrix: row r, column c is what rank r sent to rank c, in bytes or messages.
"use strict";

class Matrix {
  constructor(canvas, trace, view, search) {
    Object.assign(this, { canvas, trace, view, search, what: "bytes" });
    const n = trace.size;
    this.counts = { bytes: new Float64Array(n * n), messages: new Float64Array(n * n) };
    const { events, kinds, ranks } = trace;
    for (let e = 0; e < events.count; e += 1) {
      const { op, bytes } = kinds[events.kind[e]];
      if (!SENDS.has(op) || events.peer[e] < 0 || events.peer[e] >= n) continue;
      const cell = ranks[events.row[e]] * n + events.peer[e];
      this.counts.bytes[cell] += bytes;
      this.counts.messages[cell] += 1;
    }
    for (const what of ["bytes", "messages"]) {
      element(`matrix-${what}`).onclick = () => this.choose(what);
    }
    canvas.onclick = (event) => this.click(event);
    canvas.onmousemove = (event) => this.hover(event);
    canvas.onmouseleave = () => showTooltip(null);
    this.fillTables();
  }

  choose(what) {
    this.what = what;
    for (const name of ["bytes", "messages"]) {
      element(`matrix-${name}`).setAttribute("aria-pressed", String(name === what));
    }
    this.view.changed();
  }

  // the chosen one of the two first
  texts(cell) {
    const [bytes, messages] = [bytesText(this.counts.bytes[cell]), this.counts.messages[cell]];
    const both = [bytes, countText(messages, "message")];
    return this.what === "bytes" ? both : [messages.toLocaleString("en"), bytes];
  }

  draw() {
    const { context, width, height } = prepare(this.canvas);
    const n = this.trace.size;
    const margin = theme.size * 4.6;
    const size = Math.min((width - margin - 16) / n, (height - margin * 0.8 - 10) / n, theme.size * 14);
    this.grid = { x: margin, y: theme.size * 3.4, size };
    const values = this.counts[this.what];
    const most = values.reduce((a, b) => Math.max(a, b), 0) || 1;
    context.textBaseline = "middle";
    context.font = font(0.92);
    context.fillStyle = theme.colours.soft;
    context.fillText("to rank", margin, theme.size);
    context.fillText("from", 10, this.grid.y - theme.size);
    context.textAlign = "center";
    const every = Math.ceil((theme.size * (n > 99 ? 2.6 : 1.8)) / size);
    for (let k = 0; k < n; k += every) {
      context.fillStyle = theme.colours.ink;
      context.fillText(String(k), margin + (k + 0.5) * size, theme.size * 2.5);
      context.fillText(n > 16 ? String(k) : `rank ${k}`, margin / 2, this.grid.y + (k + 0.5) * size);
    }
    const gap = size > 12 ? 2 : 0;
    for (let cell = 0; cell < n * n; cell += 1) {
      const [x, y] = [margin + (cell % n) * size, this.grid.y + Math.floor(cell / n) * size];
      const colour = values[cell] ? scaleColour(0.08 + 0.92 * (values[cell] / most)) : theme.colours.empty;
      context.fillStyle = colour;
      context.fillRect(x, y, size - gap, size - gap);
      if (!values[cell] || size < theme.size * 4.4) continue;
      context.fillStyle = inkOn(colour);
      const shown = this.texts(cell).slice(0, size > theme.size * 7 ? 2 : 1);
      const above = ((shown.length - 1) / 2) * theme.size * 1.4;
      shown.forEach((text, k) => context.fillText(text, x + size / 2, y + size / 2 - above + k * theme.size * 1.4));
    }
    context.textAlign = "left";
  }

  cellAt(event) {
    const { x, y, size } = this.grid;
    const n = this.trace.size;
    const [column, row] = [Math.floor((event.offsetX - x) / size), Math.floor((event.offsetY - y) / size)];
    return row >= 0 && row < n && column >= 0 && column < n ? row * n + column : -1;
  }

  hover(event) {
    const cell = this.cellAt(event);
    const n = this.trace.size;
    if (cell < 0) return showTooltip(null);
    const sent = `${countText(this.counts.messages[cell], "message")}, ${bytesText(this.counts.bytes[cell])}`;
    const text = `rank ${Math.floor(cell / n)} → rank ${cell % n}\n${sent}\nclick to find them`;
    return showTooltip(text, event.clientX, event.clientY);
  }

  click(event) {
    const cell = this.cellAt(event);
    if (cell < 0 || !this.counts.messages[cell]) return;
    showTooltip(null);
    element("search").value = `${Math.floor(cell / this.trace.size)}>${cell % this.trace.size}`;
    showTab(this.view, "timeline");
    this.search.run(element("search").value);
    this.search.move(1);
  }

  fillTables() {
    const n = this.trace.size;
    const sum = (what, cells) => cells.reduce((a, cell) => a + this.counts[what][cell], 0);
    const line = Array.from({ length: n }, (_, k) => k);
    // texts in the first column, numbers in the others
    const row = (cells, tag) => {
      const made = makeRow(cells, tag);
      [...made.children].slice(1).forEach((cell) => cell.classList.add("number"));
      return made;
    };
    const totals = line.slice(0, 64).map((k) => {
      const [out, into] = [line.map((column) => k * n + column), line.map((other) => other * n + k)];
      const messages = sum("messages", out).toLocaleString("en");
      return row([`${k}`, bytesText(sum("bytes", out)), bytesText(sum("bytes", into)), messages]);
    });
    element("totals").replaceChildren(row(["rank", "sent", "received", "messages"], "th"), ...totals);
    if (n > 64) element("totals-title").textContent = `Totals of the first 64 of ${n} ranks`;
    const cells = [...this.counts.bytes.keys()].filter((cell) => this.counts.messages[cell]);
    cells.sort((a, b) => this.counts.bytes[b] - this.counts.bytes[a]);
    const busiest = cells.slice(0, 12).map((cell) => {
      const messages = this.counts.messages[cell].toLocaleString("en");
      return row([`${Math.floor(cell / n)} → ${cell % n}`, bytesText(this.counts.bytes[cell]), messages]);
    });
    element("busiest").replaceChildren(row(["from → to", "bytes", "messages"], "th"), ...busiest);
  }
}
