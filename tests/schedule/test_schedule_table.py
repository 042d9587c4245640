"""Tables written by hand, in the ways people write them; grids and pictures of them."""

from xml.etree import ElementTree

import pytest

from mpipar.errors import ScheduleError
from mpipar.schedule import (
    SCHEDULES,
    Times,
    as_csv,
    as_text,
    build,
    draw_fault,
    draw_svg,
    draw_text,
    find_fault,
    parse,
    read,
)

TWO = build("1f1b", 2, 2)
VIRTUAL = build("interleaved", 2, 2, 2)


@pytest.mark.parametrize(
    "text",
    [
        "F0 F1 B0 B1\nF0 B0 F1 B1",
        "rank 0: 0F0 0F1 0B0 0B1\n\nrank 1: 1F0 1B0 1F1 1B1\n",
        "# mine\nrank 0 | F0 F1 . B0 - B1 # warm-up first\nRank 1 | · f0 b0 f1 b1",
        "step,0,1,2,3\nrank 0,F0,F1,,B0,,B1\nrank 1,,F0,B0,F1,B1,\n",
        '"rank 0";"F0";"F1";"";"B0";"B1"\r\n"rank 1";"";"F0";"B0";"F1";"B1"\r\n',
        "F0\tF1\tB0\tB1\n\t\tF0\tB0\tF1\tB1",
        "rank 0: F0 F1\nrank 1: F0 B0\nrank 0: B0 B1\nrank 1: F1 B1",
        "F0,F1,B0,B1\n,,,,\n,F0,B0,F1,B1",
    ],
)
def test_ways_to_write_the_same(text):
    assert parse(text).rows == TWO.rows


@pytest.mark.parametrize("name", SCHEDULES)
def test_what_is_written_or_drawn_can_be_read(name, tmp_path):
    for micros in (2, 12):  # 12: names of several widths, and a grid that goes on below
        schedule = build(name, 2, micros, 2 if name == "interleaved" else 1)
        texts = [
            as_text(schedule),
            as_csv(schedule),
            draw_text(schedule),
            draw_text(schedule, Times(3, 2, 7, 1), 60),
        ]
        assert [parse(text).rows for text in texts] == [schedule.rows] * 4
        (tmp_path / "table.csv").write_text("\ufeff" + as_csv(schedule), encoding="utf-8")
        assert read(tmp_path / "table.csv").rows == schedule.rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "F0 B0\nF0 X0 B0",
            "table, line 2, column 4: 'X0' is no action; write [stage]kind micro-batch without",
        ),
        ("rank 0: F0 B 0", "table, line 1, column 12: 'B' is no action"),
        ("F0,B0\nF0,1.B0", "table, line 2, column 4: '1.B0' is no action"),
        ("rank 1: F0", "table, line 1: rank 1 before rank 0; write them in order from 0"),
        ("# nothing\n\n", "table holds no action; write a line a rank, as: rank 0: F0 B0"),
        ("rank 0: . .", "table holds no action"),
    ],
)
def test_what_cannot_be_read(text, said):
    with pytest.raises(ScheduleError) as caught:
        parse(text)
    assert str(caught.value).startswith(said)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ScheduleError, match="cannot be read: Is a directory; name a text or CSV file"):
        read(tmp_path)
    (tmp_path / "picture").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScheduleError, match="picture cannot be read: it is no text"):
        read(tmp_path / "picture")


def test_a_grid_by_hand():
    assert draw_text(TWO).splitlines() == [
        "step    0  1  2  3  4  5",
        "rank 0  F0 F1 ·  B0 ·  B1",
        "rank 1  ·  F0 B0 F1 B1 ·",
    ]
    assert draw_text(VIRTUAL, width=24).splitlines()[:4] == [
        "step    0   1   2   3",
        "rank 0  0F0 0F1 2F0 2F1",
        "rank 1  ·   1F0 1F1 3F0",
        "",
    ]


def test_a_grid_of_times_by_hand():
    assert draw_text(build("naive", 2, 1), Times(1, 1, 1, 1)).splitlines() == [
        "time    0  1  2  3  4  5  6  7",
        "rank 0  F0 ·  ·  ·  ·  ·  B0───",
        "rank 1  ·  ·  F0 B0─── ·  ·  ·",
    ]


def test_an_action_is_drawn_from_the_cell_nearest_to_its_start():
    assert draw_text(build("naive", 2, 1), Times(1, 1, 1, 0.6)).splitlines()[1:] == [
        "rank 0  F0 ·  ·  ·  ·  B0───",  # from 5.2
        "rank 1  ·  ·  F0 B0─── ·  ·",  # from 1.6 and from 2.6
    ]


def test_a_grid_fits_the_page():
    for name in SCHEDULES:
        for times in (None, Times(18.522, 18.086, 9.337, 0.601)):
            lines = draw_text(build(name, 8, 24), times, 100).splitlines()
            assert max(map(len, lines)) <= 100
            assert all(sum(line.startswith(f"rank {r} ") for line in lines) > 1 for r in range(8))


def test_faults_are_marked_in_the_grid():
    deadlock = parse("F0 B0 F1 B1\nF0 F1 B0 B1")
    assert draw_fault(deadlock, find_fault(deadlock)).splitlines() == [
        "step    0  1  2  3  4  5",
        "rank 0  F0 ·  │  B0 F1 B1",
        "                 ^^",
        "rank 1  ·  F0 │  F1 B0 B1",
        "                 ^^",
    ]
    missing = parse("F0 B0\nF0")
    assert draw_fault(missing, find_fault(missing)).splitlines() == [
        "step    0   1   2   3",
        "rank 0  F0  ·   │   B0",
        "rank 1  ·   F0  │   B0?",
        "                    ^^^",
    ]
    full = build("1f1b", 2, 2)
    assert draw_fault(full, find_fault(full, limit=1)).splitlines()[2] == "           ^^"


def test_a_picture_has_a_box_for_every_action():
    times = Times(1, 2, 3, 0.5)
    for schedule in (VIRTUAL, build("zb-h1", 3, 4), parse("F0 B0", "a<b & c")):
        picture = ElementTree.fromstring(draw_svg(schedule, times))
        titles = [title.text.split(":")[0] for title in picture.iter("{http://www.w3.org/2000/svg}title")]
        assert sorted(titles) == sorted(map(str, schedule))
    boxes = ElementTree.fromstring(draw_svg(build("naive", 1, 1), Times(1, 1, 2))).findall(".//{*}g/{*}rect")
    assert [float(box.get("width")) for box in boxes] == [30, 90]
    assert "a&lt;b &amp; c" in draw_svg(parse("F0 B0", "a<b & c"))
    wide = ElementTree.fromstring(draw_svg(build("gpipe", 2, 500)))
    assert int(wide.get("width")) < 2600
