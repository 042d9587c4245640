"""`mpipar train` on a rank: the loop, a line of progress now and then, and what came of it."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from rich.table import Table

from mpipar.arrays import synchronize, to_host, xp
from mpipar.comm import Communicator
from mpipar.errors import OptionError
from mpipar.parallel.build import build_model
from mpipar.parallel.certify import Certificate
from mpipar.parallel.job import Job, certify_job
from mpipar.parallel.options import LEARNING_RATES, Options
from mpipar.parallel.pipeline import Pipeline
from mpipar.parallel.saving import Saving, resume_job, save_job
from mpipar.view.console import console, own_command, progress
from mpipar.view.summary import AS_IT_IS, report
from mpipar.view.units import readable_bytes, readable_count, readable_time

LINES = 20  # of progress


class Stretch:
    """The steps from one line of progress to the next.   cost: allreduces of 3 numbers and of 1 a line"""

    def __init__(self, job: Job, world: Communicator) -> None:
        self.job, self.world = job, world
        self.all_steps, self.all_seconds, self.all_exposed = 0, 0.0, 0.0
        self.begin()

    def begin(self) -> None:
        self.steps, self.loss, self.finite = 0, 0.0, 0
        self.start, self.waited = self.world.wtime(), self._waiting()

    def add(self, loss: Any) -> None:
        self.steps, self.loss = self.steps + 1, self.loss + loss
        self.finite = self.finite + xp.isfinite(self.loss)  # on the device, as the loss

    def check(self) -> None:
        """Collective.   errors: OptionError, on all ranks, after a step whose loss was not finite"""
        finite = int(self.world.allreduce(np.array([int(to_host(self.finite))]), "min")[0])
        if finite < self.steps:
            step = self.job.training.steps - self.steps + finite + 1
            raise OptionError(_diverged(self.job, f"the loss of step {step} is not finite"))

    def end(self) -> tuple[float, float, float]:
        """(mean loss, steps a second, share of exposed communication), the same on all ranks.

        exposed: the time in which a rank was in collectives, or waited for them or for other stages,
          averaged over the ranks; what went on behind backward is not in it
        """
        synchronize()
        seconds, exposed = self.world.wtime() - self.start, self._waiting() - self.waited
        self.check()
        mine = [float(to_host(self.loss)) / self.steps, seconds, exposed]
        loss, seconds, exposed = self.world.allreduce(np.array(mine)) / self.world.size
        parts = self.world.size // self.job.mesh.axes["tp"]  # whose losses add up to the mean
        self.all_steps += self.steps
        self.all_seconds += seconds
        self.all_exposed += exposed
        return loss * parts, *_rates(self.steps, seconds, exposed)

    def pause(self, action: Callable[[], None]) -> None:
        """Something between two steps, whose time does not count."""
        synchronize()
        start, waited = self.world.wtime(), self._waiting()
        action()
        self.start += self.world.wtime() - start
        self.waited += self._waiting() - waited

    @property
    def overall(self) -> tuple[float, float]:
        """(steps a second, share of exposed communication) of all that has ended."""
        return _rates(self.all_steps, self.all_seconds, self.all_exposed)

    def _waiting(self) -> float:
        axes = [axis for axis, size in self.job.mesh.axes.items() if size > 1]
        stages = self.job.training.pipeline
        between = 0.0 if stages is None else stages.waited + stages.ties.seconds
        return between + sum(self.job.mesh[axis].seconds for axis in axes)


def train(
    world: Communicator, options: Options, saving: Saving | None = None, computing: bool = True
) -> None:
    """Train as the options say; rank 0 prints.   Collective

    computing: whether it takes time, which on virtual ranks it may not
    """
    job, screen, saving = Job(options, world), console(world.rank), saving or Saving()
    screen.print(_opening(job), style="dim", **AS_IT_IS)
    if saving.resume:
        name = resume_job(job, saving)
        screen.print(f"going on from {name} in {saving.checkpoint}", style="dim", **AS_IT_IS)
    start = job.training.steps
    stretch, lines = Stretch(job, world), _lines(start, job.length)
    first = last = 0.0
    quiet = np.errstate(over="ignore", invalid="ignore")  # Stretch.check says it, with a remedy
    with quiet, progress(screen, job.length, "step", start) as advance:
        for number, batch in enumerate(job.batches(), start + 1):
            stretch.add(job.training.step(batch))
            if saving.is_due(number, job.length):
                stretch.pause(lambda: _save(job, saving, stretch))
            if number not in lines:
                continue
            by = stretch.steps
            last, rate, exposed = stretch.end()
            first = first or last
            text = f"loss {last:<7.4f}" + ("" if options.model == "gpt" else f"  {_tested(*job.test())}")
            advance(f"{text}  {_speed(options, rate):>18}  exposed {exposed:4.0%}", by)
            stretch.begin()
        tested = job.test()
    job.training.verify()
    if not math.isfinite(tested[1]):
        raise OptionError(_diverged(job, f"the {tested[0]} after step {job.length} is not finite"))
    screen.print()
    screen.print(_summary(job, stretch, (first, last), tested, computing), highlight=False)
    if saving.checkpoint is not None:
        screen.print(f"saved in {saving.checkpoint}; --resume --steps {2 * job.length} goes on", **AS_IT_IS)
    screen.print(f"does the layout compute what one rank would?\n{_certify_command(options)}", **AS_IT_IS)
    report(world, screen)


def _save(job: Job, saving: Saving, stretch: Stretch) -> None:
    """Not what has diverged: its folder may hold the last good checkpoint."""
    stretch.check()
    save_job(job, saving)


def _diverged(job: Job, what: str) -> str:
    lr = LEARNING_RATES[job.options.optimizer] if job.options.lr is None else job.options.lr
    return f"{what}; give a smaller --lr than {lr:g}, or --clip 1"


def certificate(world: Communicator, options: Options, steps: int = 3, as_json: bool = False) -> Certificate:
    """Certify the layout of the options; rank 0 prints.   Collective.   returns: the Certificate"""
    screen = console(world.rank)
    found = certify_job(options, world, steps)
    if as_json:
        difference = None if found.equal else found.difference._asdict()
        report = {"equal": found.equal, **asdict(found), "difference": difference}
        screen.print(json.dumps(report, indent=2), **AS_IT_IS)
        return found
    mesh = options.mesh or f"dp={world.size}"
    what = f"{options.model} on {mesh} against one rank alone, {readable_count(steps, 'step')} in float64"
    screen.print(f"{what}, {readable_count(found.compared, 'tensor')} a rank", style="dim", **AS_IT_IS)
    screen.print(str(found), style="green" if found.equal else "bold red", highlight=False)
    return found


def _opening(job: Job) -> str:
    o, mesh = job.options, job.mesh
    ranks = readable_count(mesh.comm.size, "rank")
    parts = [f"{o.model} on {o.source}", f"{ranks}: {mesh}" if mesh.comm.size > 1 else ranks]
    mine, whole = sizes(job)
    parts.append(f"{whole:,} parameters" + (f", {mine:,} on rank 0" if mine != whole else ""))
    return "; ".join(parts)


def sizes(job: Job) -> tuple[int, int]:
    """Numbers in the parameters of this rank, and of the whole model."""
    whole = build_model(job.options, job.samples).num_parameters()
    return sum(p.size for p in job.training.model.parameters()), whole


def _summary(
    job: Job, stretch: Stretch, losses: tuple[float, float], tested: tuple[str, float], computing: bool
) -> Table:
    o, mesh = job.options, job.mesh
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    if mesh.comm.size > 1:
        table.add_row("mesh", mesh.table() if mesh.comm.size <= 16 else str(mesh))
    mine, whole = sizes(job)
    table.add_row("parameters", f"{whole:,}" + (f", of which rank 0 has {mine:,}" if mine != whole else ""))
    pipeline, zero = job.training.pipeline, job.training.zero
    if pipeline is not None:
        table.add_row("pipeline", _stages(pipeline))
    if zero is not None:
        kept = ", ".join(f"{what} {readable_bytes(n)}" for what, n in zero.memory_bytes().items() if n)
        table.add_row("ZeRO", f"stage {zero.stage}; on rank 0: {kept}")
    rate, exposed = stretch.overall
    took = readable_time(stretch.all_seconds)
    table.add_row("steps", f"{stretch.all_steps:,} of {readable_count(o.batch, 'sample')}, in {took}")
    table.add_row("loss", f"{losses[0]:.4f} → {losses[1]:.4f}")
    what, value = tested
    table.add_row(what, f"{value:.4f}" if what == "test loss" else f"{value:.2%}")
    table.add_row("speed", _speed(o, rate))
    if mesh.comm.size > 1:
        table.add_row("exposed", f"{exposed:.0%} of the time: in communication that computing does not hide")
    if not computing:
        table.add_row("time", "virtual, of messages alone: computing took none; --compute measured counts it")
    return table


def _stages(pipeline: Pipeline) -> str:
    micros = f"{pipeline.schedule.micros} micro-batch{'es' * (pipeline.schedule.micros > 1)}"
    layers = ", ".join(str(len(of)) for of in pipeline.partition)
    held = f"rank 0 held {readable_count(pipeline.peak, 'activation')} at most"
    return f"{pipeline.schedule.name}, {micros}, stages of {layers} layers; {held}"


def _certify_command(options: Options) -> str:
    """For the same layout."""
    return own_command("certify", *replace(options, epochs=None, steps=None, dtype=Options.dtype).words())


def _lines(start: int, length: int) -> set[int]:
    """The steps behind `start` after which there is a line."""
    count = min(LINES, length - start)
    return {start + round((length - start) * (k + 1) / count) for k in range(count)}


def _speed(options: Options, rate: float) -> str:
    """Samples, or the tokens of them, a second."""
    unit, each = ("tokens/s", options.context) if options.model == "gpt" else ("samples/s", 1)
    return f"{rate * options.batch * each:,.0f} {unit}" if rate else "no time passed"


def _tested(what: str, value: float) -> str:
    return f"{what} {value:6.2%}"


def _rates(steps: float, seconds: float, exposed: float) -> tuple[float, float]:
    return (steps / seconds, exposed / seconds) if seconds > 0 else (0.0, 0.0)
