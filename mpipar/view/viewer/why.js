// The sentences of `mpipar trace why`, and those about what is missing. One that names a call leads to the
// longest wait in it.
"use strict";

function fillSentences(trace, view) {
  const items = trace.sentences.map((sentence) => {
    const target = longestWait(trace, sentence);
    if (!target) return make("li", {}, sentence);
    const onclick = () => view.selectState(target.row, target.index, true);
    const title = "show the longest of these waits";
    return make("li", {}, make("button", { className: "link", title, onclick }, sentence));
  });
  element("why").replaceChildren(...items);
  const problems = trace.events.count ? trace.problems : ["this trace holds no events", ...trace.problems];
  element("problems").replaceChildren(...problems.map((text) => make("p", {}, text)));
  element("problems").hidden = !problems.length;
}

// of the call whose site the sentence names first, and for the rank that it blames
function longestWait(trace, sentence) {
  const [, who, site] = /waited .*? for rank (\d+).*? at (.+?:\d+)(?=[ ;,]|$)/.exec(sentence) ?? [];
  let best = null;
  trace.states.forEach((own, row) => {
    for (const [index, [, culprit]] of Object.entries(own.waiting)) {
      const event = own.event[index];
      const length = own.end[index] - own.start[index];
      const fits = event >= 0 && culprit === Number(who) && trace.kinds[trace.events.kind[event]].site === site;
      if (fits && (!best || length > best.length)) best = { row, index: Number(index), length };
    }
  });
  return best;
}
