"""Where a machine's calibrated network is kept: network.json in the user's config folder.

`mpipar calibrate` writes it. Without it the values in network.py are used, measured elsewhere.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mpipar.comm.network import SHARED_MEMORY, Network
from mpipar.errors import OptionError
from mpipar.settings import settings

NUMBERS = ("alpha", "beta", "gamma")


def network_path() -> Path:
    """$XDG_CONFIG_HOME/mpipar/network.json, by default ~/.config/mpipar/network.json"""
    return Path(settings().config) / "network.json"


def load_network(path: str | Path | None = None) -> Network:
    """What was measured on this machine, else the default.   errors: OptionError for a damaged file"""
    path = network_path() if path is None else Path(path)
    if not path.exists():
        return SHARED_MEMORY
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        numbers = {name: float(stored[name]) for name in NUMBERS}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OptionError(f"{path} cannot be read ({error!r}); run mpipar calibrate, or delete it") from None
    wrong = [name for name, value in numbers.items() if not 0 < value < 1]
    if wrong:
        value = numbers[wrong[0]]
        raise OptionError(f"{path}: {wrong[0]} = {value} s is no time; run mpipar calibrate, or delete it")
    return replace(SHARED_MEMORY, **numbers)


def save_network(network: Network, path: str | Path | None = None, **about: Any) -> Path:
    """Keep it for later runs, with what it was measured from.   returns: where"""
    path = network_path() if path is None else Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: asdict(network)[name] for name in NUMBERS}
    path.write_text(json.dumps({**kept, **about}, indent=2) + "\n", encoding="utf-8")
    return path
