"""The schedules themselves: grids drawn by hand, closed forms, published numbers."""

import pytest

from mpipar.errors import LayoutError, MpiparError, OptionError, ScheduleError
from mpipar.schedule import (
    SCHEDULES,
    Schedule,
    Times,
    build,
    draw_text,
    micro_batch_size,
    parse,
    peaks,
    timeline,
    unit_times,
)

SIZES = [(ranks, micros) for ranks in range(1, 9) for micros in range(1, 17)]
INTERLEAVED = [(ranks, ranks * groups, v) for ranks in range(1, 6) for groups in (1, 2, 3) for v in (1, 2, 3)]


def words(actions):
    return " ".join(map(str, actions))


def grid(name, ranks, micros, virtual=1):
    """The rows of the grid, without ruler and names; · as ."""
    lines = draw_text(build(name, ranks, micros, virtual)).replace("·", ".").splitlines()
    return [line[8:].rstrip(" .") for line in lines if line.startswith("rank")]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        (
            "naive",
            [
                "F0 .  .  .  .  B0 F1 .  .  .  .  B1",
                ".  F0 .  .  B0 .  .  F1 .  .  B1",
                ".  .  F0 B0 .  .  .  .  F1 B1",
            ],
        ),
        ("gpipe", ["F0 F1 .  .  .  .  B0 B1", ".  F0 F1 .  .  B0 B1", ".  .  F0 F1 B0 B1"]),
        ("1f1b", ["F0 F1 .  .  .  B0 .  B1", ".  F0 F1 .  B0 .  B1", ".  .  F0 B0 F1 B1"]),
        ("zb-h1", ["F0 F1 .  .  .  I0 W0 I1 W1", ".  F0 F1 .  I0 .  I1 W0 W1", ".  .  F0 I0 F1 I1 W0 W1"]),
    ],
)
def test_three_ranks_and_two_micro_batches(name, rows):
    assert grid(name, 3, 2) == rows


def test_figures_of_the_zero_bubble_paper():
    """Fewer ranks than its Figures 2 and 3, by the rules of sections 2.1 and 2.2, drawn by hand."""
    assert grid("zb-h1", 2, 3) == ["F0 F1 .  I0 W0 F2 I1 W1 I2 W2", ".  F0 I0 F1 I1 W0 F2 I2 W1 W2"]
    assert grid("zb-h2", 2, 4) == [
        "F0 F1 F2 I0 W0 F3 I1 W1 I2 W2 I3 W3",
        ".  F0 I0 F1 I1 F2 I2 W0 F3 I3 W1 W2 W3",
    ]


def test_interleaved_by_hand():
    assert grid("interleaved", 2, 2, 2) == [
        "0F0 0F1 2F0 2F1 .   2B0 .   2B1 0B0 0B1",
        ".   1F0 1F1 3F0 3B0 3F1 3B1 1B0 1B1",
    ]


def test_the_examples_of_the_docstrings():
    assert words(build("1f1b", 3, 4).rows[0]) == "0F0 0F1 0F2 0B0 0F3 0B1 0B2 0B3"
    assert words(build("zb-h1", 3, 4).rows[1]) == "1F0 1F1 1I0 1F2 1I1 1W0 1F3 1I2 1W1 1I3 1W2 1W3"
    assert words(build("zb-h2", 2, 4).rows[1]) == "1F0 1I0 1F1 1I1 1F2 1I2 1W0 1F3 1I3 1W1 1W2 1W3"
    assert words(build("interleaved", 2, 2, 2).rows[0]) == "0F0 0F1 2F0 2F1 2B0 2B1 0B0 0B1"
    assert build("interleaved", 3, 4, 1).rows == build("1f1b", 3, 4).rows


@pytest.mark.parametrize(("ranks", "micros"), SIZES)
def test_closed_forms(ranks, micros):
    """Unit steps, where a fused backward is one step; of zero bubble, each of F, I and W is one."""
    P, m = ranks, micros
    steps = {"naive": 2 * P * m, "gpipe": 2 * m + 2 * (P - 1), "1f1b": 2 * m + 2 * (P - 1)}
    steps |= {"zb-h1": 3 * m + max(P - 1, 2 * P - 1 - m), "zb-h2": 3 * m + max(0, 2 * P - 1 - m)}
    held = {
        "naive": [1] * P,
        "gpipe": [m] * P,
        "1f1b": [min(P - s, m) for s in range(P)],
        "zb-h1": [min(P, m)] * P,
        "zb-h2": [min(2 * P - 1, m)] * P,
    }
    for name in steps:
        schedule = build(name, P, m)
        line = timeline(schedule, unit_times(schedule))
        assert line.cost == steps[name], name
        assert peaks(schedule) == held[name], name
        assert (schedule.ranks, schedule.stages, schedule.micros) == (P, P, m)
    for times in (Times(1, 1, 1), Times(3, 2, 5)):
        assert timeline(build("1f1b", P, m), times).bubble_rate == pytest.approx((P - 1) / (m + P - 1))
        assert timeline(build("gpipe", P, m), times).bubble_rate == pytest.approx((P - 1) / (m + P - 1))


@pytest.mark.parametrize(("ranks", "micros", "virtual"), INTERLEAVED)
def test_closed_forms_of_interleaved(ranks, micros, virtual):
    schedule = build("interleaved", ranks, micros, virtual)
    assert schedule.stages == ranks * virtual
    assert schedule.rank_of == {stage: stage % ranks for stage in range(ranks * virtual)}
    idle = (ranks - 1) / virtual
    assert timeline(schedule, Times(3, 2, 5)).bubble_rate == pytest.approx(idle / (micros + idle))
    assert timeline(schedule, unit_times(schedule)).cost == 2 * (micros * virtual + ranks - 1)
    if virtual > 1:
        most = [2 * (ranks - 1 - r) + (virtual - 1) * ranks + 1 for r in range(ranks)]
        assert peaks(schedule) == [min(held, micros * virtual) for held in most]


@pytest.mark.parametrize(
    ("ranks", "micros", "times", "rates"),
    [
        (8, 24, (18.522, 18.086, 9.337, 0.601), (0.2431, 0.1585, 0.1083)),
        (8, 64, (18.546, 18.097, 9.321, 0.762), (0.1240, 0.0674, 0.0444)),
        (16, 64, (11.307, 11.254, 8.101, 0.379), (0.2082, 0.1088, 0.0516)),
    ],
)
def test_published_bubble_rates(ranks, micros, times, rates):
    """Qi et al., ICLR 2024, Tables 5 and 6, to the printed decimals."""
    found = [
        timeline(build(name, ranks, micros), Times(*times)).bubble_rate for name in ("1f1b", "zb-h1", "zb-h2")
    ]
    assert [round(rate, 4) for rate in found] == list(rates)


def test_latency_counts_between_ranks_only():
    alone = Schedule("alone", (tuple(parse("0F0 1F0 1B0 0B0").rows[0]),))
    assert timeline(alone, Times(2, 2, 4, 100)).cost == 8  # each of its two stages has half the work
    two = timeline(build("naive", 2, 1), Times(1, 2, 4, 10))
    assert [tuple(span[1:]) for row in two.rows for span in row] == [(0, 1), (28, 34), (11, 12), (12, 18)]
    assert (two.cost, two.makespan, two.work) == (34, 34, 7)


def test_cost_is_from_a_ranks_own_start_to_its_own_end():
    line = timeline(build("zb-h2", 3, 9), Times(1, 1, 1))
    assert (line.cost, line.makespan, line.bubble_rate) == (27, 29, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("2f2b", 2, 2), OptionError, "no schedule '2f2b'; use one of naive, gpipe, 1f1b, interleaved"),
        (("1f1b", 0, 2), LayoutError, "1f1b: 0 ranks; give at least 1"),
        (("1f1b", 2, 0), LayoutError, "1f1b: 0 micro-batches; give at least 1"),
        (("interleaved", 2, 2, 0), LayoutError, "interleaved: 0 stages a rank; give at least 1"),
        (("1f1b", 2, 2, 2), LayoutError, "1f1b has one stage a rank, not 2; use interleaved"),
        (
            ("interleaved", 4, 6, 2),
            LayoutError,
            "6 micro-batches do not divide into groups of 4 ranks; use 8 or",
        ),
    ],
)
def test_sizes_that_do_not_fit(arguments, error, text):
    with pytest.raises(error, match=text):
        build(*arguments)


@pytest.mark.parametrize("times", [(1, -1, 1), (0, 0, 0, 1), (1, float("nan"), 1)])
def test_times_that_cannot_be(times):
    with pytest.raises(OptionError, match="give none below 0, and not all 0"):
        timeline(build("1f1b", 2, 2), Times(*times))


def test_a_wrong_schedule_takes_no_time():
    with pytest.raises(ScheduleError, match="never runs 0B0"):
        timeline(parse("0F0"), Times(1, 1, 1))


def test_micro_batches_divide_a_batch():
    assert micro_batch_size(12, 4) == 3
    for batch, micros in ((10, 4), (4, 0), (0, 4)):
        with pytest.raises(
            MpiparError, match=f"batch of {batch} samples does not divide into {micros} micro"
        ):
            micro_batch_size(batch, micros)


def test_all_names_can_be_built():
    assert all(build(name, 2, 4).name == name for name in SCHEDULES)
