// The trace, unpacked from the page's JSON (written by mpipar/view/page_data.py) into arrays that can be
// searched. A "row" is a rank that left a file; an event is a number, those of a row stand together and
// are ordered by their start. Times are ns since the run's first event.
"use strict";

const SENDS = new Set(["send", "isend"]);
const RECEIVES = new Set(["recv", "irecv"]);
const NAMED_SCOPES = 5; // that have a colour of their own
const WORTH_A_COLOUR = 0.02; // of the weight
const MOST_OF_IT = 0.75;

// The first index of a sorted array whose value is at least (after: beyond) the one looked for.
function bisect(sorted, value, after = false) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (after ? sorted[middle] <= value : sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Stretches of time ordered by their start, which may overlap.
class Lane {
  constructor(ids, start, end) {
    this.ids = Int32Array.from(ids);
    this.start = Float64Array.from(ids, (id) => start[id]);
    this.end = Float64Array.from(ids, (id) => end[id]);
    this.reach = this.end.slice(); // the latest end so far, which is sorted
    for (let k = 1; k < this.reach.length; k += 1) this.reach[k] = Math.max(this.reach[k], this.reach[k - 1]);
  }

  // [first, beyond) of those that may touch this stretch of time
  range(from, to) {
    return [bisect(this.reach, from), bisect(this.start, to, true)];
  }

  // the shortest stretch at this time, give or take; -1 for none
  at(time, slack = 0) {
    const [first, beyond] = this.range(time - slack, time + slack);
    let best = -1;
    for (let k = first; k < beyond; k += 1) {
      const better = best < 0 || this.end[k] - this.start[k] <= this.end[best] - this.start[best];
      if (this.end[k] >= time - slack && better) best = k;
    }
    return best < 0 ? -1 : this.ids[best];
  }
}

function unpack(data) {
  const { strings } = data;
  for (const replay of data.replays.played) {
    for (const frame of replay.frames) frame.hops = frame.hops.map(unpackHop);
  }
  const isNumber = new Set(["bytes", "shape", "micro"]);
  const cell = (name, value) => [name, isNumber.has(name) ? value : strings[value]];
  const kinds = data.kinds.map((row) => Object.fromEntries(row.map((value, k) => cell(data.fields[k], value))));
  const events = unpackEvents(data.events, kinds);
  const trace = { ...data, kinds, events, rowOf: new Map(data.ranks.map((rank, row) => [rank, row])) };
  const isMessage = kinds.map(({ op }) => SENDS.has(op) || RECEIVES.has(op));
  const rows = data.ranks.map((_, row) => {
    const all = Array.from({ length: events.first[row + 1] - events.first[row] }, (_, k) => events.first[row] + k);
    const lane = (keep) => new Lane(all.filter((e) => keep(kinds[events.kind[e]], e)), events.start, events.end);
    return {
      all: lane(() => true),
      sends: lane(({ op }) => SENDS.has(op)),
      receives: lane(({ op }) => RECEIVES.has(op)),
      calls: lane(({ op }, e) => op !== "scope" && !isMessage[events.kind[e]]),
      scopes: lane(({ op }) => op === "scope"),
    };
  });
  const [sent, received] = data.pairs;
  const partner = new Int32Array(events.count).fill(-1);
  const pairOf = new Int32Array(events.count).fill(-1);
  sent.forEach((event, k) => {
    [partner[event], partner[received[k]]] = [received[k], event];
    pairOf[event] = pairOf[received[k]] = k;
  });
  const order = sent.map((_, k) => k);
  const flights = new Lane(order, sent.map((e) => events.start[e]), received.map((e) => events.end[e]));
  Object.assign(trace, { rows, sent, received, partner, pairOf, flights });
  trace.states = data.states.map((own) => unpackStates(own, strings));
  trace.categories = nameCategories(trace.states);
  trace.states.forEach((own) => addUp(own, trace.categories));
  return trace;
}

// phaseStep, phaseSteps: which step of its phase; carries: [chunk, set of contributions] of each chunk in it
function unpackHop([sender, receiver, tag, bytes, phase, phaseStep, phaseSteps, took, carries, values]) {
  return { sender, receiver, tag, bytes, phase, phaseStep, phaseSteps, took, carries, values };
}

function unpackEvents(columns, kinds) {
  const first = [0];
  for (const { kind } of columns) first.push(first.at(-1) + kind.length);
  const count = first.at(-1);
  const events = { count, first, values: new Map() };
  for (const name of ["row", "kind", "peer", "tag", "parent", "step"]) events[name] = new Int32Array(count);
  for (const name of ["start", "end"]) events[name] = new Float64Array(count);
  columns.forEach((own, row) => {
    let [time, step] = [0, -1];
    own.kind.forEach((kind, k) => {
      const e = first[row] + k;
      time += own.start[k];
      step += own.step[k];
      events.row[e] = row;
      events.kind[e] = kind;
      events.start[e] = time;
      events.end[e] = time + own.length[k];
      events.peer[e] = own.peer[k];
      events.tag[e] = own.tag[k];
      events.parent[e] = own.parent[k] ? e - own.parent[k] : -1;
      events.step[e] = step;
    });
    for (const [k, values] of Object.entries(own.values)) events.values.set(first[row] + Number(k), values);
  });
  return events;
}

// The states of a row: kind, label, event and (of a wait) [cause, culprit, culprit's event] of each.
function unpackStates(own, strings) {
  const count = own.length.length;
  const names = own.names.map(([kind, label]) => ({ kind, label: strings[label] }));
  const [start, end] = [new Float64Array(count), new Float64Array(count)];
  let time = own.begin;
  own.length.forEach((length, k) => {
    start[k] = time;
    time += length;
    end[k] = time;
  });
  const lane = new Lane(own.length.map((_, k) => k), start, end);
  return { count, names, name: own.name, start, end, lane, event: own.event, waiting: own.waiting, last: time };
}

// "step/forward" is "step/forward/0" at depth 2
function scopeAt(depth, label) {
  return label.split("/").slice(0, depth).join("/");
}

// [scope, weight] at a depth: ns of computing, times the ranks that are ever in it, so that what all do
// comes before what one of them does alone
function weighScopes(states, depth) {
  const [time, ranks] = [new Map(), new Map()];
  states.forEach((own, row) => {
    own.name.forEach((name, k) => {
      const { kind, label } = own.names[name];
      const scope = scopeAt(depth, label);
      if (kind !== "compute" || !label) return;
      time.set(scope, (time.get(scope) ?? 0) + own.end[k] - own.start[k]);
      ranks.set(scope, (ranks.get(scope) ?? new Set()).add(row));
    });
  });
  return [...time].map(([scope, ns]) => [scope, ns * ranks.get(scope).size]).sort((a, b) => b[1] - a[1]);
}

// What has a colour: some scopes, other and unnamed computing, communication, waiting. Scopes are taken at
// the greatest depth at which a few hold most of the weight.
function nameCategories(states) {
  const total = (found) => found.reduce((sum, [, weight]) => sum + weight, 0);
  let depth = Math.max(1, ...states.flatMap((own) => own.names.map(({ label }) => label.split("/").length)));
  let found = weighScopes(states, depth);
  while (depth > 1 && total(found.slice(0, NAMED_SCOPES)) < MOST_OF_IT * total(found)) {
    depth -= 1;
    found = weighScopes(states, depth);
  }
  const least = WORTH_A_COLOUR * total(found);
  const long = found.slice(0, NAMED_SCOPES).filter(([, weight]) => weight >= least);
  return [
    ...long.map(([label], k) => ({ kind: "compute", label, depth, colour: `compute-${k}` })),
    { kind: "compute", label: "other scopes", colour: "other", isOther: true },
    { kind: "compute", label: "", colour: "unnamed" },
    { kind: "communication", label: "communication", colour: "communication" },
    { kind: "waiting", label: "waiting", colour: "waiting" },
  ];
}

// Adds to each state its category, and the time that each category has taken before it.
function addUp(own, categories) {
  const width = categories.length;
  const isIn = (category, { kind, label }) => category.kind === kind
    && (kind !== "compute" || category.label === scopeAt(category.depth, label));
  const of = own.names.map((name) => {
    const found = categories.findIndex((category) => isIn(category, name));
    return found < 0 ? categories.findIndex((category) => category.isOther) : found;
  });
  own.category = Uint8Array.from(own.name, (name) => of[name]);
  own.before = new Float64Array((own.count + 1) * width);
  for (let k = 0; k < own.count; k += 1) {
    for (let c = 0; c < width; c += 1) own.before[(k + 1) * width + c] = own.before[k * width + c];
    own.before[(k + 1) * width + own.category[k]] += own.end[k] - own.start[k];
  }
}

// ns that a row has spent in each category up to a time, into `out`
function spentUntil(own, width, time, out) {
  const k = Math.max(bisect(own.start, time, true) - 1, 0);
  for (let c = 0; c < width; c += 1) out[c] = own.before[k * width + c];
  if (k < own.count) out[own.category[k]] += Math.max(Math.min(time, own.end[k]) - own.start[k], 0);
  return out;
}

// "allreduce ring", "send to 3"
function eventTitle(trace, e) {
  const { op, algorithm, scope } = trace.kinds[trace.events.kind[e]];
  if (op === "scope") return scope;
  if (SENDS.has(op)) return `${op} to rank ${trace.events.peer[e]}`;
  if (RECEIVES.has(op)) return `${op} from rank ${trace.events.peer[e]}`;
  return `${op} ${algorithm}`.trim();
}
