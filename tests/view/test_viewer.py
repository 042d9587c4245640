"""The page in a browser: what it draws is what the trace says; keys, mouse, colours and speed.

Chromium is Debian's; without it, or without Playwright, the tests are skipped. `window.mpipar` is the page's
own account of what it has drawn, and is held against the trace, the pixels and NumPy.
"""

import json
import os
import shutil
import time
from itertools import product

import numpy as np
import pytest
from made_traces import event, long_ring, made

from mpipar.comm.virtual import run
from mpipar.trace import pair_messages, read
from mpipar.view.html import VIEWER, write_html

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed (extra `browser`)"
)
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")

FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run"
).split()
P = 4
X = [np.arange(12.0) + 100 * rank for rank in range(P)]
FIRST_FRAME = 1500  # ms, of a page with 50,000 events


def program(world):
    for step in range(2):
        with world.scope("forward", step):
            world.pause(3e-6 * (1 + (world.rank == 2)))
        world.allreduce(X[world.rank], algorithm="ring")
    world.bcast(np.ones(2), root=1, algorithm="binomial")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    own = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path_factory.mktemp("config"))}
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS, env=own)
        yield browser
        browser.close()


@pytest.fixture
def show(browser, tmp_path):
    """show(trace) -> a page, of which every message of the console and every request is kept."""
    contexts = []

    def show(trace, scheme="light", **options):
        write_html(trace, tmp_path / "page.html")
        context = browser.new_context(
            viewport={"width": 1280, "height": 800}, color_scheme=scheme, reduced_motion="reduce", **options
        )
        contexts.append(context)
        page = context.new_page()
        page.said, page.requests = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto((tmp_path / "page.html").as_uri())
        return page

    yield show
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    folder = tmp_path_factory.mktemp("viewer") / "t"
    run(program, P, trace=folder, values=True)
    return read(folder)


def drawn(page):
    """What is drawn now, after a frame that was asked for."""
    page.evaluate("() => new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame))")
    return page.evaluate("mpipar.view()")


def wait_until(page, condition, limit=5):
    """Playwright's own wait_for_function is stopped by the page's policy."""
    deadline = time.monotonic() + limit
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"not within {limit} s: {condition}"
        page.wait_for_timeout(20)


def middle(box):
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def click_event(page, number):
    """Click into the event's box on the timeline."""
    x, y = middle(page.evaluate("e => mpipar.box(e)", number))
    page.locator("#rows").click(position={"x": x, "y": y})
    return drawn(page)


def test_opens_offline_and_without_a_word(show, ring):
    page = show(ring)
    for key in "123c?":
        page.keyboard.press(key)
    assert page.said == []
    assert len(page.requests) == 1 and page.requests[0].startswith("file://")
    assert page.title() == "t · mpipar"


def test_arrows_connect_what_was_sent_with_what_was_received(show, ring):
    page = show(ring)
    arrows = page.evaluate("mpipar.arrows()")
    begin = min(e.start for _, e in ring.events())
    pairs = pair_messages(ring)
    wanted = sorted((s, r, sent.start - begin, received.end - begin) for s, sent, r, received in pairs)
    assert sorted((a["sender"], a["receiver"], a["from"], a["to"]) for a in arrows) == wanted
    assert len(arrows) == 2 * P * 2 * (P - 1) + P - 1
    boxes = page.evaluate("mpipar.arrows().map(a => [mpipar.box(a.sent), mpipar.box(a.received)])")
    for arrow, (sent, received) in zip(arrows, boxes, strict=True):
        assert sent["x"] == pytest.approx(arrow["x0"]) and middle(sent)[1] == pytest.approx(arrow["y0"])
        assert received["x"] + received["width"] == pytest.approx(arrow["x1"], abs=1)
        assert middle(received)[1] == pytest.approx(arrow["y1"])
    # time is a straight line in x, a rank one in y
    times = np.array([[a["from"], a["x0"]] for a in arrows] + [[a["to"], a["x1"]] for a in arrows])
    assert np.abs(np.polyval(np.polyfit(*times.T, 1), times[:, 0]) - times[:, 1]).max() < 1e-6
    heights = {a["sender"]: a["y0"] for a in arrows}
    assert (
        np.allclose(np.diff([heights[r] for r in range(P)]), heights[1] - heights[0])
        and heights[1] > heights[0]
    )


def test_slices_are_where_the_page_says(show, ring):
    """A send is solid in its box, a receive hollow; below it is nothing."""
    page = show(ring)
    page.keyboard.press("x")  # without arrows across
    drawn(page)
    boxes = page.evaluate("mpipar.arrows().map(a => [mpipar.box(a.sent), mpipar.box(a.received)])")
    sent, received = max(boxes, key=lambda pair: min(box["width"] for box in pair))
    pixel = "([x, y]) => [...document.getElementById('rows').getContext('2d').getImageData(x, y, 1, 1).data]"
    x, y = middle(received)
    blue, nothing = [0x00, 0x72, 0xB2, 255], [0, 0, 0, 0]  # Okabe & Ito's blue
    assert page.evaluate(pixel, middle(sent)) == blue
    assert page.evaluate(pixel, [x, y]) == nothing
    assert page.evaluate(pixel, [x, round(received["y"] + 0.5)]) != nothing
    assert page.evaluate(pixel, [x, received["y"] + received["height"] + 4]) == nothing


def ring_states(x):
    """Numbers of all ranks after each step of the ring allreduce, written with NumPy alone."""
    chunks = [np.array_split(part.copy(), P) for part in x]
    yield [[c.tolist() for c in own] for own in chunks]
    for step in range(1, 2 * P - 1):
        before = [[c.copy() for c in own] for own in chunks]
        for rank, left in ((r, (r - 1) % P) for r in range(P)):
            if step < P:
                c = (left - step) % P
                chunks[rank][c] = before[rank][c] + before[left][c]
            else:
                c = (left - (step - P)) % P
                chunks[rank][c] = before[left][c]
        yield [[c.tolist() for c in own] for own in chunks]


def test_stepping_shows_the_partial_sums(show, ring):
    page = show(ring)
    page.keyboard.press("2")
    for step, wanted in enumerate(ring_states(X)):
        drawn(page)
        shown = page.evaluate("mpipar.replay()")
        assert (shown["step"], shown["steps"], shown["shape"]) == (step, 2 * P - 2, "ring")
        assert shown["values"] == wanted
        texts = page.locator("#drawing text.cell").all_text_contents()
        numbers = [" ".join(f"{x:g}" for x in chunk) for own in wanted for chunk in own]
        assert [text for text in texts if not text.startswith("Σ")] == numbers
        page.keyboard.press("ArrowRight")
    assert shown["held"] == [[list(range(P))] * P] * P
    assert "ratio 1.00" in page.inner_text("#bytes-text")
    assert page.inner_text("#step-text").startswith("step 6 of 6, allgather 3/3: rank 0 → 1 sends chunk ")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    drawn(page)
    assert page.inner_text("#hops tr:nth-child(2)").split("\t")[:3] == ["rank 0 → 1", "3", "of 0"]
    page.keyboard.press("p")
    page.locator("#calls button", has_text="bcast binomial").click()
    drawn(page)
    assert page.evaluate("mpipar.replay().shape") == "tree"


def test_a_message_travels_while_it_plays(show, ring):
    page = show(ring)
    page.emulate_media(reduced_motion="no-preference")
    page.keyboard.press("2")
    page.keyboard.press("ArrowRight")
    where = "document.querySelector('#drawing .token').getAttribute('transform')"
    page.wait_for_selector("#drawing .token")
    first = page.evaluate(where)
    wait_until(page, f"{where} !== {json.dumps(first)}")
    page.keyboard.press(" ")
    assert page.inner_text("#play") == "❚❚ pause"
    wait_until(page, "mpipar.replay().step >= 2")
    page.keyboard.press(" ")
    assert page.inner_text("#play") == "▶ play"


def test_click_tells_the_call_and_its_source(show, ring):
    page = show(ring)
    arrow = page.evaluate("mpipar.arrows()")[0]
    assert click_event(page, arrow["sent"])["selected"] == arrow["sent"]
    said = page.inner_text("#details")
    site = next(e.site for r, e in ring.events() if e.op == "send" and r == arrow["sender"])
    line = int(site.rpartition(":")[2])
    source = (VIEWER.parents[2] / "mpipar/comm/collectives/ring.py").read_text(encoding="utf-8").splitlines()
    assert said.startswith(f"rank {arrow['sender']}: send to rank {arrow['receiver']}")
    assert site in said and "24 B" in said and "reduce-scatter" in said
    shown = page.text_content("#details .here").removeprefix(str(line))
    assert shown.strip() == source[line - 1].strip() != ""
    page.keyboard.press("m")
    assert drawn(page)["selected"] == arrow["received"]
    page.locator("#details button", has_text="play this collective").click()
    assert drawn(page)["tab"] == "collectives"


def test_keys(show, ring):
    page = show(ring)
    whole = drawn(page)
    length = whole["to"] - whole["from"]

    def after(key):
        page.keyboard.press(key)
        return drawn(page)

    near = after("w")
    assert near["to"] - near["from"] == pytest.approx(length / 1.5)
    moved = after("ArrowRight")
    assert moved["from"] - near["from"] == pytest.approx(0.2 * length / 1.5)
    assert after("a")["from"] == pytest.approx(near["from"])
    assert after("f")["to"] == pytest.approx(whole["to"])
    assert after("n")["selected"] == 0 and after("n")["selected"] == 1 and after("p")["selected"] == 0
    assert after("Escape")["selected"] == -1
    assert after(" ")["cursor"] is not None and after("Escape")["cursor"] is None
    for key, button in (("c", "#show-path"), ("x", "#show-arrows"), ("l", "#large")):
        before = page.get_attribute(button, "aria-pressed")
        after(key)
        assert page.get_attribute(button, "aria-pressed") != before
    assert [after(key)["tab"] for key in "231"] == ["collectives", "matrix", "timeline"]
    after("?")
    assert page.locator("#keys").is_visible() and "zoom in" in page.inner_text("#keys")
    after("Escape")
    assert not page.locator("#keys").is_visible()


def test_search(show, ring):
    page = show(ring)

    def found(text):
        page.fill("#search", text)
        return drawn(page)["found"]

    every = [(r, e) for r, e in ring.events()]
    between = sum((r, e.peer, e.op) in ((0, 1, "send"), (1, 0, "recv")) for r, e in every)
    page.keyboard.press("/")
    page.keyboard.type("0>1")
    assert drawn(page)["found"] == between > 0
    page.keyboard.press("Enter")
    chosen = page.evaluate("mpipar.event(mpipar.view().selected)")
    assert (chosen["rank"], chosen["op"]) == (0, "send") and page.inner_text("#matches") == f"1 of {between}"
    page.keyboard.press("n")
    assert page.inner_text("#matches") == f"2 of {between}"
    for a, b in product(range(P), repeat=2):
        ends = ((a, b, "send"), (b, a, "recv"))
        assert found(f"{a}>{b}") == sum((r, e.peer, e.op) in ends for r, e in every), (a, b)
    assert found("rank:2 allgather") == sum(r == 2 and e.phase == "allgather" for r, e in every)
    assert found("step:1 scope") == sum(e.step == 1 and e.op == "scope" for _, e in every)
    assert found("nowhere at all") == 0


def test_matrix_and_its_click(show, ring):
    page = show(ring)
    page.keyboard.press("3")
    drawn(page)
    sent = {r: sum(e.bytes for e in ring.ranks[r].events if e.op == "send") for r in range(P)}
    rows = [row.split("\t") for row in page.inner_text("#totals").splitlines()[1:]]
    assert [(row[0], row[1]) for row in rows] == [(str(r), f"{n} B") for r, n in sent.items()]
    box = page.evaluate("app.matrix.grid")
    page.locator("#cells").click(
        position={"x": box["x"] + 1.5 * box["size"], "y": box["y"] + 0.5 * box["size"]}
    )
    assert drawn(page)["tab"] == "timeline" and page.input_value("#search") == "0>1"


def test_a_sentence_leads_to_its_wait(show, ring):
    page = show(ring)
    page.locator("#why button").first.click()
    drawn(page)
    assert "waited" in page.inner_text("#details")


def test_hostile_texts_stay_texts(show, tmp_path):
    name = "<img src=x onerror='window.pwned=1'></script><script>window.pwned=1</script>"
    trace = made(
        tmp_path / "t", [event("scope", 0, 9, scope=name, site=f"{name}:1"), event("barrier", 9, 9.5)]
    )
    trace.meta["program"] = [f"{name}.py", name]
    trace.problems.append(name)
    page = show(trace)
    page.keyboard.press("n")
    page.keyboard.press("2")
    assert page.evaluate("window.pwned") is None and page.locator("img").count() == 0
    assert name in page.inner_text("#problems") and page.said == []


def test_problems_and_an_empty_trace(show, tmp_path):
    page = show(made(tmp_path / "part", [event("barrier", 0, 1)], size=3))
    assert page.inner_text("#problems") == "2 of 3 ranks left no file: 1, 2"
    page = show(made(tmp_path / "empty", []))
    assert page.inner_text("#problems") == "this trace holds no events"
    for key in "23n1wnc ":
        page.keyboard.press(key)
        drawn(page)
    assert page.said == []


def test_many_ranks_scroll(show, tmp_path):
    page = show(made(tmp_path / "t", *long_ring(256, 2)))
    boxes = page.evaluate("[mpipar.box(0), mpipar.box(4 * 255)]")
    assert boxes[0]["height"] >= 3 and boxes[1]["y"] > page.evaluate("app.lanes.height")
    for _ in range(4):
        page.keyboard.press("PageDown")
    drawn(page)
    low = page.evaluate("mpipar.box(4 * 255)")
    assert low["y"] + low["height"] <= page.evaluate("app.lanes.height")
    assert page.said == []


def test_fifty_thousand_events_are_drawn_at_once(show, tmp_path):
    """From the start of loading to the first frame; measured 0.5 s. The best of three, on a busy machine."""
    trace = made(tmp_path / "t", *long_ring(4, 6250))
    page, best = show(trace), 1e9
    for _ in range(3):
        wait_until(page, "performance.getEntriesByName('first frame').length")
        best = min(best, page.evaluate("performance.getEntriesByName('first frame')[0].startTime"))
        if best < FIRST_FRAME:
            break
        page.reload()
    assert best < FIRST_FRAME
    frame = page.evaluate(
        "(() => { const t = performance.now(); mpipar.draw(); return performance.now() - t; })()"
    )
    assert frame < 250  # measured 30 ms: panning is smooth


CONTRASTS = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const found = channels(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest("script, svg")) continue;
    const ink = channels(getComputedStyle(node).color).slice(0, 3);
    found.push([walker.currentNode.data.trim(), ink, ground(node)]);
  }
  for (const text of document.querySelectorAll("#drawing text.cell")) {
    let box = text;
    while (!box.matches("rect")) box = box.previousElementSibling;
    const fill = (node) => channels(getComputedStyle(node).fill);
    found.push([text.textContent, fill(text), fill(box)]);
  }
  return found;
}"""
CANVAS = """() => {
  const numbers = (text) => [1, 3, 5].map((k) => parseInt(text.slice(k, k + 2), 16));
  const of = theme.colours;
  const pairs = [["ink", of.ink, of.panel], ["soft", of.soft, of.panel], ["ink, page", of.ink, of.page]];
  for (const { colour } of app.trace.categories) pairs.push([colour, inkOn(of[colour]), of[colour]]);
  for (let share = 0; share <= 1; share += 0.05) {
    pairs.push([`scale at ${share}`, inkOn(scaleColour(share)), scaleColour(share)]);
  }
  return pairs.map(([name, a, b]) => [name, numbers(a), numbers(b)]);
}"""


def contrast(a, b):
    """(L1 + 0.05) / (L2 + 0.05) of WCAG 2.2, with relative luminance L."""

    def luminance(rgb):
        c = np.array(rgb) / 255
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_is_legible(show, ring, scheme):
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)
    ring.problems.append("a problem, to see its colours")
    page = show(ring, scheme)
    ring.problems.pop()
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    found = page.evaluate(CANVAS)
    for key in "123":
        page.keyboard.press(key)
        page.keyboard.press("n" if key == "1" else "End")
        drawn(page)
        found += page.evaluate(CONTRASTS)
    found_low = [(text, round(contrast(a, b), 2)) for text, a, b in found if contrast(a, b) < 4.5]
    assert len(found) > 150 and found_low == []
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") != scheme


def test_large_type_fits_on_a_projector(show, ring):
    """Nothing is cut at the right, and the timeline keeps room."""
    page = show(ring)
    page.keyboard.press("l")
    drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
    assert page.locator("#rows").bounding_box()["height"] > 200
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 18
