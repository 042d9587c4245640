"""Bytes, seconds, counts and paths as people read them."""

from pathlib import Path


def readable_bytes(n: float) -> str:
    """1536 -> '1.5 KiB'; whole bytes below 1 KiB."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while abs(n) >= 1024 and len(units) > 1:
        n /= 1024
        units.pop(0)
    return f"{n:.0f} B" if units[0] == "B" else f"{n:.1f} {units[0]}"


def readable_rate(bytes_a_second: float) -> str:
    """1.5e6 -> '1.4 MiB/s'; whole from 100 on"""
    number, unit = readable_bytes(bytes_a_second).split()
    return f"{float(number):.0f} {unit}/s" if float(number) >= 100 else f"{number} {unit}/s"


def readable_time(seconds: float) -> str:
    """0.00025 -> '250 µs'; three digits that count."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.0f} {unit}" if seconds >= 100 else f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def percent(share: float) -> str:
    """0.414 -> '41 %'; a digit more below 1 %"""
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{100 * share:.1f} %" if 0 < share < 0.0095 else f"{100 * share:.0f} %"


def readable_count(n: int, unit: str) -> str:
    """(1, 'rank') -> '1 rank', (4, 'rank') -> '4 ranks'"""
    return f"{n} {unit}" if n == 1 else f"{n} {unit}s"


def readable_path(path: str | Path) -> str:
    """Relative where it lies below the current folder, else as it is."""
    path, here = Path(path), Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else str(path)
