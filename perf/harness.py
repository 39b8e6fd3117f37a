"""What perf/measure and perf/demo share: running a command against the clock, alternating contenders, fresh file systems.

A ratio counts only when both sides ran in the same run, turn by turn. Times are medians; the spread is always shown.
"""
import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
PEERS = os.path.join(HERE, "peers", "bin")


class Failed(Exception):
    """A contender ended with a failure; the text is its own last line."""


class Command:
    """A pipeline of programs: its first reads `stdin` (a file) and its last writes to /dev/null, or into `count`."""

    def __init__(self, *stages, stdin=None):
        self.stages = [list(map(str, stage)) for stage in stages]
        self.stdin = stdin


class Sample:
    """One timed run. Processor seconds and output are of all stages together, memory is of the largest one."""

    def __init__(self, seconds, processor, peak_kib, output_bytes):
        self.seconds, self.processor, self.peak_kib, self.output_bytes = seconds, processor, peak_kib, output_bytes


def run(command, count_output=False):
    """Runs a command once. With `count_output` its output is counted (slower: not for a timed run)."""
    with tempfile.TemporaryDirectory(prefix="ldiff-measure-", dir="/dev/shm") as scratch, contextlib.ExitStack() as files:
        source = files.enter_context(open(command.stdin or os.devnull, "rb"))
        errors = files.enter_context(open(os.path.join(scratch, "errors"), "w+b"))
        sink = subprocess.PIPE if count_output else files.enter_context(open(os.devnull, "wb"))
        reports, processes, output_bytes = [], [], 0
        started = time.perf_counter()
        for index, stage in enumerate(command.stages):
            last = index == len(command.stages) - 1
            reports.append(os.path.join(scratch, "usage%d" % index))
            # GNU time forks from a small process; counted from here, memory would include this interpreter's.
            process = subprocess.Popen(["/usr/bin/time", "-q", "-o", reports[-1], "-f", "%M %U %S", *stage], stdin=source,
                                       stdout=sink if last else subprocess.PIPE, stderr=errors)
            if index > 0:
                source.close()
            processes.append(process)
            source = process.stdout
        if count_output:
            output_bytes = sum(len(block) for block in iter(lambda: source.read(1 << 20), b""))
            source.close()
        statuses = [process.wait() for process in processes]
        seconds = time.perf_counter() - started
        if any(statuses):
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines() or ["(no message)"]
            raise Failed("status %s: %s" % (statuses, lines[-1]))
        usage = []
        for report in reports:
            with open(report, encoding="ascii") as text:
                usage.append([float(word) for word in text.read().split()])
        return Sample(seconds, sum(row[1] + row[2] for row in usage), int(max(row[0] for row in usage)), output_bytes)


def drop_caches():
    """Writes everything out, then forgets the page cache, names and inodes."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as control:
        control.write("3\n")


@contextlib.contextmanager
def fresh_ext4(inodes, gibibytes=6):
    """A just-made ext4 on a loop device over memory: nothing was deleted there, so its allocator does not search.

    The image loses its name as soon as it is mounted and the loop device goes with the mount, so that nothing is left
    behind even by a killed run (perf/measure runs in a mount namespace of its own).
    """
    scratch = tempfile.mkdtemp(prefix="ldiff-ext4-", dir="/dev/shm")
    image, target = os.path.join(scratch, "image"), os.path.join(scratch, "root")
    mounted = False
    try:
        os.mkdir(target)
        with open(image, "wb") as file:
            file.truncate(gibibytes << 30)
        # Tables are written now, not by a kernel thread during the measured run.
        subprocess.run(["mkfs.ext4", "-q", "-F", "-N", str(inodes), "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
                        image], check=True, stdin=subprocess.DEVNULL)
        subprocess.run(["mount", "-o", "loop,noatime", image, target], check=True)
        mounted = True
        os.unlink(image)
        os.sync()
        yield target
    finally:
        if mounted:
            subprocess.run(["umount", target], check=True)
        shutil.rmtree(scratch, ignore_errors=True)


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


def peer(name):
    """The path of a Go peer, or None when perf/peers/build has not made it."""
    path = os.path.join(PEERS, name)
    return path if os.access(path, os.X_OK) else None


def floor():
    """The path of the C probe, compiled when it is missing or older than its source; None without a compiler."""
    source = os.path.join(HERE, "floor", "floor.c")
    target = source[:-len(".c")]
    if not os.path.exists(target) or os.path.getmtime(target) < os.path.getmtime(source):
        compiler = shutil.which("cc") or shutil.which("clang")
        if not compiler:
            return None
        subprocess.run([compiler, "-O2", "-pthread", "-o", target, source], check=True)
    return target


def installed(name):
    return shutil.which(name) is not None


def count_entries(tree):
    """Entries below a tree's root. Reading them is also what warms the cache of names and inodes."""
    return sum(len(directories) + len(files) for _, directories, files in os.walk(os.fsencode(tree)))
