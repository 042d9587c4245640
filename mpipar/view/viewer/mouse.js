// The mouse on the timeline: wheel, drag, click, and the tooltip under the pointer.
"use strict";

function connectMouse(app) {
  const { view, lanes, overview, trace } = app;
  const rows = element("rows");
  let drag = null;
  rows.onwheel = (event) => {
    event.preventDefault();
    const isSideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (isSideways) view.pan((event.deltaX || event.deltaY) / 800);
    else view.zoom(Math.exp(-event.deltaY / 320), lanes.time(event.offsetX));
  };
  rows.onpointerdown = (event) => {
    rows.setPointerCapture(event.pointerId);
    drag = { x: event.offsetX, y: event.offsetY, from: view.from, to: view.to, scroll: view.scroll, moved: false };
  };
  rows.onpointermove = (event) => {
    if (!drag) return hover(event);
    const [dx, dy] = [event.offsetX - drag.x, event.offsetY - drag.y];
    drag.moved ||= Math.hypot(dx, dy) > 4;
    if (!drag.moved) return undefined;
    const by = (-dx / lanes.plot) * (drag.to - drag.from);
    view.scroll = drag.scroll - dy;
    return view.show(drag.from + by, drag.to + by);
  };
  rows.onpointerup = (event) => {
    if (drag && !drag.moved) choose(event);
    drag = null;
  };
  rows.ondblclick = (event) => {
    choose(event);
    if (view.selected >= 0 || view.state) app.zoomToChosen();
  };
  rows.onpointerleave = () => hover(null);
  const choose = (event) => {
    const { row, event: chosen, state } = lanes.pick(event.offsetX, event.offsetY);
    if (state >= 0) view.selectState(row, state);
    else view.select(chosen);
  };
  const hover = (event) => {
    const found = event ? lanes.pick(event.offsetX, event.offsetY) : { event: -1, state: -1 };
    if (view.hovered !== found.event) view.changed();
    view.hovered = found.event;
    rows.classList.toggle("over", found.event >= 0 || found.state >= 0);
    showTooltip(tooltipText(trace, found), event?.clientX, event?.clientY);
  };
  const slide = (event) => {
    if (!event.buttons) return;
    const [half, centre] = [(view.to - view.from) / 2, overview.time(event.offsetX)];
    const width = half * 2 > view.end * 0.9 ? view.end * 0.1 : half;
    view.show(centre - width, centre + width);
  };
  element("overview").onpointerdown = (event) => {
    element("overview").setPointerCapture(event.pointerId);
    slide(event);
  };
  element("overview").onpointermove = slide;
}

function tooltipText(trace, { row, event, state }) {
  if (state >= 0) {
    const own = trace.states[row];
    const { kind, label } = own.names[own.name[state]];
    const wait = own.waiting[state];
    const why = wait ? `\nfor rank ${wait[1]}: ${wait[0]}` : "";
    const computes = `computes${label ? ` in ${label}` : ""}`;
    const doing = { compute: computes, communication: `is in ${label}`, waiting: `waits in ${label}` }[kind];
    return `rank ${trace.ranks[row]} ${doing}, ${timeText(own.end[state] - own.start[state])}${why}`;
  }
  if (event < 0) return null;
  const kind = trace.kinds[trace.events.kind[event]];
  const length = trace.events.end[event] - trace.events.start[event];
  const title = `rank ${trace.ranks[trace.events.row[event]]}: ${eventTitle(trace, event)}`;
  return `${title}, ${bytesText(kind.bytes)}, ${timeText(length)}\n${kind.site}`;
}

function showTooltip(text, x, y) {
  const tooltip = element("tooltip");
  tooltip.hidden = !text;
  if (!text) return;
  tooltip.textContent = text;
  tooltip.style.left = `${Math.min(x + 14, window.innerWidth - tooltip.offsetWidth - 8)}px`;
  tooltip.style.top = `${Math.min(y + 16, window.innerHeight - tooltip.offsetHeight - 8)}px`;
}
