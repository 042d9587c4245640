// Where the ranks of a collective stand when it is played: a ring in a circle, a tree in levels, what exchanges
// with partners 1, 2, 4 … ranks away in a grid, and more than 16 ranks in lines, one a rank. And some geometry.
"use strict";

const MOST_CARDS = 16;

function shapeOf(algorithm, operation, ranks) {
  if (ranks > MOST_CARDS) return "lines";
  if (/binomial|tree/.test(algorithm)) return "tree";
  if (/naive|linear/.test(algorithm) && operation !== "scan") return "tree";
  if (/doubling|halving|rabenseifner|scatter_allgather|hierarchical|dissemination/.test(algorithm)) return "grid";
  return "ring";
}

// Positions in the unit square, one a rank.
function placesOf(shape, replay, root) {
  const count = replay.ranks.length;
  const line = Array.from({ length: count }, (_, k) => k);
  if (shape === "lines") return line.map((k) => [0.5, count > 1 ? k / (count - 1) : 0.5]);
  if (shape === "tree") {
    const places = treePlaces(replay, Math.max(replay.ranks.indexOf(root), 0));
    if (places) return places;
  }
  if (shape === "grid" && count > 2) {
    const columns = 2 ** Math.ceil(Math.log2(count) / 2);
    const lines = Math.ceil(count / columns);
    const inner = columns > 2 ? 0.64 : 1; // room above and below for messages that pass by a neighbour
    const height = (k) => (lines > 1 ? 0.5 + (Math.floor(k / columns) / (lines - 1) - 0.5) * inner : 0.5);
    return line.map((k) => [(k % columns) / Math.max(columns - 1, 1), height(k)]);
  }
  if (count <= 2) return line.map((k) => [count > 1 ? k : 0.5, 0.5]);
  const start = count === 4 ? -0.75 * Math.PI : -0.5 * Math.PI; // four ranks stand in the corners
  const round = line.map((k) => start + (2 * Math.PI * k) / count).map((a) => [Math.cos(a), Math.sin(a)]);
  const most = [0, 1].map((axis) => Math.max(...round.map((place) => Math.abs(place[axis]))));
  return round.map(([x, y]) => [0.5 + x / most[0] / 2, 0.5 + y / most[1] / 2]);
}

// Levels of the tree that the messages of the first phase make, whichever way they go; null where they make none.
function treePlaces(replay, root) {
  const count = replay.ranks.length;
  const near = replay.ranks.map(() => new Set());
  const hops = replay.frames.flatMap(({ hops: of }) => of);
  for (const { sender, receiver } of hops.filter(({ phase }) => phase === hops[0].phase)) {
    near[sender].add(receiver);
    near[receiver].add(sender);
  }
  if (near.reduce((sum, of) => sum + of.size, 0) !== 2 * (count - 1)) return null;
  const [x, depth] = [new Array(count), new Array(count)];
  let leaves = 0;
  const walk = (rank, level) => {
    depth[rank] = level;
    const children = [...near[rank]].filter((other) => depth[other] === undefined);
    children.forEach((child) => (depth[child] = level + 1));
    children.forEach((child) => walk(child, level + 1));
    if (children.length) x[rank] = (x[children[0]] + x[children.at(-1)]) / 2;
    else x[rank] = leaves++;
  };
  walk(root, 0);
  if (depth.includes(undefined)) return null;
  const deepest = Math.max(...depth, 1);
  return x.map((at, k) => [leaves > 1 ? at / (leaves - 1) : 0.5, depth[k] / deepest]);
}

function centre({ x, y, width, height }) {
  return [x + width / 2, y + height / 2];
}

// where the line from a box's centre to a point leaves the box, and `gap` further
function edgeOf(box, [px, py], gap) {
  const [cx, cy] = centre(box);
  const [dx, dy] = [px - cx, py - cy];
  const scale = Math.min((box.width / 2 + gap) / Math.abs(dx || 1e-9), (box.height / 2 + gap) / Math.abs(dy || 1e-9));
  return [cx + dx * scale, cy + dy * scale];
}

function isBetween([x, y], [ax, ay], [bx, by], { width, height }) {
  const [dx, dy] = [bx - ax, by - ay];
  const part = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1);
  const [offX, offY] = [Math.abs(ax + dx * part - x), Math.abs(ay + dy * part - y)];
  return part > 0 && part < 1 && offX < width / 2 && offY < height / 2;
}

function pointOn([from, control, to], t) {
  return [0, 1].map((k) => (1 - t) ** 2 * from[k] + 2 * t * (1 - t) * control[k] + t * t * to[k]);
}
