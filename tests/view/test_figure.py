"""Figures: every shape is where the trace says, nothing leaves the canvas, no labels collide."""

import re
import sys
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from ranks import run_python

from mpipar.arrays import asarray
from mpipar.comm.virtual import run
from mpipar.errors import OptionError, TraceError
from mpipar.trace import pair_messages, read
from mpipar.view import states
from mpipar.view.figure import draw, write_figure
from mpipar.view.figure_timeline import ARROWS, Scale
from mpipar.view.shapes import Arrow, Drawing, Line, Rect, Text, ink_on, lines_of, shortened, text_width
from mpipar.view.svg import svg

NAMESPACE = "{http://www.w3.org/2000/svg}"


def program(world):
    rank, p = world.rank, world.size
    for step in range(2):
        with world.scope("compute", step):
            world.pause(1e-3 * (1 + (rank == 1)))
        world.allreduce(asarray(np.arange(4.0 * p)), algorithm="ring")
        with world.scope("a <late> & \"quoted\" 'message'", step):
            if rank == 0 and p > 1:
                world.pause(2e-3)
                world.send(asarray(np.ones(100)), p - 1, tag=7)
            elif rank == p - 1 > 0:
                world.recv(asarray(np.empty(100)), 0, tag=7)
    world.bcast(asarray(np.ones(3)), root=p - 1)
    world.barrier()


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """The trace of `program` on so many ranks."""
    folder = tmp_path_factory.mktemp("traces")
    made = {}

    def trace_on(p):
        if p not in made:
            run(program, p, trace=folder / str(p))
            made[p] = read(folder / str(p))
        return made[p]

    return trace_on


class Picture:
    """What an SVG file shows; parsing it proves that it is well-formed."""

    def __init__(self, content):
        root = ElementTree.fromstring(content)
        self.width, self.height = float(root.get("width")), float(root.get("height"))
        assert root.get("viewBox") == f"0 0 {self.width:g} {self.height:g}"
        self.boxes = [self.box(e) for e in [*root.iter(f"{NAMESPACE}rect")][1:]]
        self.texts = [self.text(e) for e in root.iter(f"{NAMESPACE}text")]
        self.arrows = [self.arrow(e) for e in root.iter(f"{NAMESPACE}g")]

    def box(self, element):
        left, top, width, height = (float(element.get(k)) for k in ("x", "y", "width", "height"))
        title = element.find(f"{NAMESPACE}title")
        return left, top, left + width, top + height, element.get("fill"), "" if title is None else title.text

    def text(self, element):
        place, size = (float(element.get("x")), float(element.get("y"))), int(element.get("font-size"))
        return Text(*place, element.text, element.get("fill"), size, element.get("text-anchor"))

    def arrow(self, group):
        line = group.find(f"{NAMESPACE}line")
        x1, y1, x2, y2 = (float(line.get(k)) for k in ("x1", "y1", "x2", "y2"))
        points = group.find(f"{NAMESPACE}polygon").get("points").split()
        assert tuple(map(float, points[0].split(","))) == (x2, y2)
        found = re.match(r"rank (\d+) → (\d+)", group.find(f"{NAMESPACE}title").text)
        return (x1, y1), (x2, y2), int(found[1]), int(found[2]), points

    def check_bounds(self):
        for left, top, right, bottom, *_ in self.boxes:
            assert 0 <= left <= right <= self.width and 0 <= top <= bottom <= self.height
        for text in self.texts:
            left, right = text.extent()
            assert left >= 0 and right <= self.width and text.size <= text.y <= self.height, text
            assert text.size >= 14
        for *_, points in self.arrows:
            for x, y in (map(float, point.split(",")) for point in points):
                assert 0 <= x <= self.width and 0 <= y <= self.height

    def check_texts(self):
        """No two overlap: of those on one line, each ends before the next begins."""
        lines = {}
        for text in self.texts:
            lines.setdefault(text.y, []).append(text.extent())
        for extents in lines.values():
            assert all(left[1] <= right[0] for left, right in pairwise(sorted(extents))), extents

    def rank_rows(self):
        return {int(t.text.split()[1]): t.y for t in self.texts if re.fullmatch(r"rank \d+", t.text)}


def picture(trace, **options):
    found = Picture(svg(draw(trace, **options)))
    found.check_bounds()
    found.check_texts()
    return found


@pytest.mark.parametrize("p", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("options", [{}, {"step": 1}, {"width": 640, "theme": "dark"}, {"width": 4000}])
def test_a_timeline_stays_on_its_canvas(p, options, traces):
    found = picture(traces(p), **options)
    assert found.width == options.get("width", 1280)
    assert {"compute", "0"} <= {text.text for text in found.texts}
    assert any(text.text.startswith("time in ") for text in found.texts)


def test_each_message_leads_from_its_rank_and_time_to_the_other(traces):
    trace = traces(3)
    found, scale, rows = picture(trace), Scale(*span(trace), 96, 1240), picture(trace).rank_rows()
    pairs = pair_messages(trace)
    assert len(found.arrows) == len(pairs) > 20
    middle = {rank: y - 0.35 * 16 for rank, y in rows.items()}  # the baseline lies below it
    for ((x1, y1), (x2, y2), *ranks, _), (s, sent, r, received) in zip(found.arrows, pairs, strict=True):
        assert ranks == [s, r]
        assert x1 == pytest.approx(scale(sent.start), abs=0.02)
        assert x2 == pytest.approx(scale(received.end), abs=0.02)
        bar = 0.62 * 60 / 2 * (1 if r > s else -1)  # from edge to facing edge
        assert (y1, y2) == pytest.approx((middle[s] + bar, middle[r] - bar), abs=0.02)


def span(trace):
    events = [event for _, event in trace.events()]
    return min(e.start for e in events), max(e.end for e in events)


def test_boxes_are_the_states_of_the_ranks(traces):
    trace = traces(3)
    found, scale = picture(trace), Scale(*span(trace), 96, 1240)
    drawn = sorted((round(b[0], 1), round(b[2], 1)) for b in found.boxes if b[5])
    known = sorted(
        (round(scale(s.start), 1), round(scale(s.end), 1)) for own in states(trace).values() for s in own
    )
    assert np.allclose(drawn, known, atol=0.11)
    waiting = {box[4] for box in found.boxes if box[5].startswith("allreduce") and box[2] - box[0] > 50}
    keys = {(box[2] + 8, box[1] + 15): box[4] for box in found.boxes if not box[5]}
    legend = {text.text: keys[text.x, text.y] for text in found.texts if (text.x, text.y) in keys}
    assert waiting == {legend["waiting"]} and len(set(legend.values())) == len(legend)


def test_of_thousands_of_messages_some_are_drawn_and_the_rest_counted(tmp_path):
    def many(world):
        for _ in range(200):
            world.pause(1e-6)
            world.allreduce(asarray(np.ones(8)), algorithm="ring")

    run(many, 4, trace=tmp_path / "t")
    trace = read(tmp_path / "t")
    found = picture(trace)
    assert 20 < len(found.arrows) <= ARROWS
    assert f"{len(found.arrows)} of {200 * 24} messages are drawn" in " ".join(t.text for t in found.texts)
    assert len(found.boxes) < 4 * 1280


def test_more_pairs_of_ranks_than_arrows(traces):
    """Of 40 ranks even one message a pair would be too many."""
    assert len(picture(traces(40)).arrows) <= ARROWS


@pytest.mark.parametrize("span_ns", [1, 7, 999, 1000, 12_345, 10**6, 987_654_321, 3 * 10**9, 10**13])
@pytest.mark.parametrize("width", [640, 1280, 5000])
def test_ticks_are_round_and_do_not_touch(span_ns, width):
    unit, ticks = Scale(5, 5 + span_ns, 96, width - 40).ticks()
    factor = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}[unit]
    extents = [Text(x, 0, label, "#000000", anchor="middle").extent() for x, label in ticks]
    assert all(left[1] < right[0] for left, right in pairwise(extents))
    for x, label in ticks:
        assert (x - 96) / (width - 136) * span_ns == pytest.approx(float(label) * factor, abs=1e-6 * span_ns)


@pytest.mark.parametrize("p", [2, 3, 5, 8, 16])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_ring_hop_by_hop(p, theme, traces):
    found = picture(traces(p), collective="allreduce ring", theme=theme, width=12_000)
    assert len(found.arrows) == 2 * (p - 1) * p
    steps = sorted({x1 for (x1, _), *_ in found.arrows})
    assert len(steps) == 2 * (p - 1)
    for (x1, y1), (x2, y2), sender, receiver, _ in found.arrows:
        assert receiver == (sender + 1) % p and x1 < x2
        assert (y2 > y1) == (receiver > sender)
    cells = [box for box in found.boxes if ", chunk " in box[5]]
    assert len(cells) == p * p * (2 * (p - 1) + 1)
    last = sorted(cells)[-p:]
    everybody = " ".join(map(str, range(p))) if p < 3 else f"0–{p - 1}"
    assert all(cell[5].endswith(f"from rank {everybody}") for cell in last)


def test_the_grid_of_a_ring_by_hand(traces):
    """3 ranks: in step 1 rank r sends chunk r-1 to rank r+1, which then has two contributions there."""
    cells = [box for box in picture(traces(3), collective="1").boxes if ", chunk " in box[5]]
    told = [re.match(r"rank (\d), chunk (\d) .*: from rank (.*)", cell[5]).groups() for cell in cells]
    start, first = told[:9], told[9:18]
    assert start == [(str(r), str(c), str(r)) for r in range(3) for c in range(3)]
    changed = {(r, c): whose for r, c, whose in first if len(whose) > 1}
    assert changed == {("1", "2"): "0 1", ("2", "0"): "1 2", ("0", "1"): "0 2"}


def test_steps_that_have_no_room_are_told(traces):
    found = picture(traces(16), collective="1", width=1280)
    (note,) = [text.text for text in found.texts if "are drawn" in text.text]
    wide = int(re.search(r"--width (\d+) shows all", note)[1])
    assert re.match(r"steps 1 … \d+ of 30 are drawn", note)
    assert not any("are drawn" in t.text for t in picture(traces(16), collective="1", width=wide).texts)


def test_a_barrier_has_messages_and_no_grid(traces):
    found = picture(traces(3), collective="barrier")
    assert len(found.arrows) == 6 and not [box for box in found.boxes if ", chunk " in box[5]]
    assert any("only their order counts" in text.text for text in found.texts)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"collective": "99"}, TraceError, "there is no collective 99"),
        ({"step": 7}, TraceError, r"no step 7; its steps are 0 … 1"),
        ({"width": 100}, OptionError, "100 px wide has no room"),
        ({"theme": "pink"}, OptionError, "no theme 'pink'; choose from light, dark"),
        ({"collective": "1", "step": 1}, OptionError, "step 1 and collective 1 cannot both be drawn"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(options, error, said, traces, tmp_path):
    with pytest.raises(error, match=said):
        write_figure(traces(2), tmp_path / "x.svg", **options)


def test_a_step_is_the_first_of_its_number(tmp_path):
    def twice(world):
        for training in "AB":
            for step in range(3):
                with world.scope(training, step):
                    world.pause(1e-3)

    run(twice, 2, trace=tmp_path / "t")
    trace = read(tmp_path / "t")
    found = picture(trace, step=1)
    assert found.texts[0].text.endswith(": 2 ranks, step 1, 1 ms")
    assert {box[5] for box in found.boxes} == {"", "A: 1 ms"}


@pytest.mark.parametrize(("step", "said"), [(None, "holds no events"), (0, "tells no steps")])
def test_an_empty_trace(step, said, tmp_path):
    run(lambda world: None, 2, trace=tmp_path / "t")
    with pytest.raises(TraceError, match=said):
        draw(read(tmp_path / "t"), step=step)


def test_one_rank_has_no_hops_to_draw(traces):
    with pytest.raises(TraceError, match="allreduce #1 cannot be drawn: it needs no messages"):
        draw(traces(1), collective="1")


def test_other_suffixes_and_a_missing_matplotlib(traces, tmp_path, monkeypatch):
    with pytest.raises(OptionError, match=r"x.jpeg .* name a file.svg, .pdf or .png"):
        write_figure(traces(2), tmp_path / "x.jpeg")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(OptionError, match=r"pip install 'mpipar\[plots\]'"):
        write_figure(traces(2), tmp_path / "x.pdf")


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_matplotlib_draws_the_same_shapes(suffix, begins, traces, tmp_path):
    pytest.importorskip("matplotlib")
    write_figure(traces(2), tmp_path / f"x.{suffix}")
    assert (tmp_path / f"x.{suffix}").read_bytes().startswith(begins)


def test_text_is_escaped():
    hostile = "</text><script>&\x00\ud800"
    shapes = [
        Text(0, 9, hostile, "#000000"),
        Rect(0, 0, 1, 1, "#000000", title=hostile),
        Line(0, 0, 1, 1, "#000000"),
    ]
    root = ElementTree.fromstring(svg(Drawing(10, 10, "#FFFFFF", [*shapes, Arrow(0, 0, 0, 0, "#000000")])))
    assert root.find(f"{NAMESPACE}text").text == "</text><script>&\ufffd\ufffd"
    assert root.find(f".//{NAMESPACE}script") is None


def test_helpers_of_shapes():
    assert text_width("abc", 10) == 18
    assert shortened("a/long/path", 60, 10) == "…long/path" and shortened("short", 60, 10) == "short"
    assert lines_of("one two three", 50, 10) == ["one two", "three"] and lines_of("", 50) == []
    assert (ink_on("#FFFFFF"), ink_on("#0072B2"), ink_on("#F0E442")) == ("#000000", "#FFFFFF", "#000000")
    assert Arrow(0, 0, 20, 0, "#000000").head() == [(20, 0), (10, 4), (10, -4)]


def test_from_the_command_line(traces, tmp_path):
    command = ["-m", "mpipar.cli", "trace", "figure", str(traces(3).folder), "-o", str(tmp_path / "x.svg")]
    done = run_python([*command, "--collective", "allreduce", "--theme", "dark"])
    assert done.returncode == 0, done.stderr
    assert len(Picture((tmp_path / "x.svg").read_text()).arrows) == 12
