"""What perf/demo measures with: running a command against the clock, alternating contenders. `ldiff bench` does it in full.

A ratio counts only when both sides ran in the same run, turn by turn. Times are medians; the spread is always shown.
"""
import contextlib
import os
import statistics
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)


class Failed(Exception):
    """A contender ended with a failure; the text is its own last line."""


class Command:
    """A pipeline of programs; its last writes to /dev/null."""

    def __init__(self, *stages):
        self.stages = [list(map(str, stage)) for stage in stages]


class Sample:
    """One timed run."""

    def __init__(self, seconds):
        self.seconds = seconds


def run(command):
    """Runs a command once."""
    with contextlib.ExitStack() as files:
        source, sink = files.enter_context(open(os.devnull, "rb")), files.enter_context(open(os.devnull, "wb"))
        errors = files.enter_context(tempfile.TemporaryFile())
        processes = []
        started = time.perf_counter()
        for index, stage in enumerate(command.stages):
            last = index == len(command.stages) - 1
            process = subprocess.Popen(stage, stdin=source, stdout=sink if last else subprocess.PIPE, stderr=errors)
            if index > 0:
                source.close()
            processes.append(process)
            source = process.stdout
        statuses = [process.wait() for process in processes]
        seconds = time.perf_counter() - started
        if any(statuses):
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines() or ["(no message)"]
            raise Failed("status %s: %s" % (statuses, lines[-1]))
        return Sample(seconds)


def alternate(contenders, runs, once):
    """Runs every contender in turn, `runs` times: A B A B. `once(name, make)` gives a Sample.

    A contender that fails is left out from then on. Returns (samples by name, failures by name).
    """
    samples, failures = {name: [] for name in contenders}, {}
    for _ in range(runs):
        for name, make in contenders.items():
            if name in failures:
                continue
            try:
                samples[name].append(once(name, make))
            except (Failed, OSError, subprocess.CalledProcessError) as failure:
                failures[name] = str(failure)
                samples[name] = []
    return samples, failures


def median(samples):
    return statistics.median(sample.seconds for sample in samples)


def spread(samples):
    return min(sample.seconds for sample in samples), max(sample.seconds for sample in samples)


def program():
    """The ldiff to measure: $LDIFF, or the release build of this checkout."""
    return os.environ.get("LDIFF") or os.path.join(TOP, ".build", "release", "ldiff")
