"""The jobs P1 to P12: for each, who takes part and with which command. perf/measure runs them."""
import hashlib
import os
import subprocess

import harness
from harness import Command, floor, installed, peer, program

CACHE = os.environ.get("LDIFF_CACHE") or os.path.join(harness.HERE, "cache")


def corpus(name):
    found = subprocess.run([os.path.join(harness.HERE, "corpus"), name], check=True, stdout=subprocess.PIPE, text=True)
    return found.stdout.strip()


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return "sha256:" + digest.hexdigest()


class Inputs:
    """The input tree and what is derived from it once: a changed copy, its layer, the layer compressed."""

    def __init__(self, name):
        self.tree = os.path.abspath(name) if os.path.isdir(name) else corpus(name)
        self.entries = harness.count_entries(self.tree)
        self.inodes = self.entries + self.entries // 4 + 4096
        self.label = os.path.basename(self.tree.rstrip("/")) or "root"

    def derived(self, name, make):
        """A file or tree in the cache, made once; it appears under its name only when complete."""
        os.makedirs(os.path.join(CACHE, "derived"), exist_ok=True)
        path = os.path.join(CACHE, "derived", "%s-%d%s" % (self.label, self.entries, name))
        if not os.path.lexists(path):
            partial = "%s.partial-%d" % (path, os.getpid())
            make(partial)
            os.rename(partial, path)
        return path

    def layer(self):
        """The tree as a plain layer: Docker's own when its peer is built, so that every reader gets what it expects."""
        def make(path):
            with open(path, "wb") as file:
                docker = peer("peer-docker")
                command = [docker, "diff", self.tree] if docker else ["tar", "-cf", "-", "--format=pax", "-C", self.tree, "."]
                subprocess.run(command, check=True, stdout=file)
        return self.derived(".tar", make)

    def gzip_layer(self):
        def make(path):
            with open(path, "wb") as file:
                subprocess.run(["pigz", "-6", "-n", "-c", self.layer()], check=True, stdout=file)
        return self.derived(".tar.gz", make)

    def digest(self, path):
        def make(target):
            with open(target, "w", encoding="ascii") as file:
                file.write(sha256(path))
        kind = os.path.basename(path).split("-")[-1].split(".", 1)[1]
        with open(self.derived("." + kind + ".digest", make), encoding="ascii") as file:
            return file.read()

    def changed_tree(self):
        """A full copy with five differences: two files changed, one added, one removed, one directory's mode."""
        def make(path):
            subprocess.run(["cp", "-a", self.tree, path], check=True)
            files, directory = [], None
            for parent, directories, names in os.walk(path):
                directories.sort()
                files += [os.path.join(parent, name) for name in sorted(names) if os.path.isfile(os.path.join(parent, name))]
                directory = parent
                if len(files) > 400:
                    break
            for index in (10, 100):
                with open(files[index], "ab") as file:
                    file.write(b"changed\n")
            os.unlink(files[200])
            with open(files[300] + ".added", "wb") as file:
                file.write(b"added\n")
            os.chmod(directory, 0o700)
        return self.derived(".changed", make)


class Job:
    """One row of the targets. `contenders(inputs)` gives name -> function of the fresh target directory -> Command."""

    def __init__(self, identity, title, target, contenders, **flags):
        self.identity, self.title, self.target, self._contenders = identity, title, target, contenders
        self.cold = flags.get("cold", False)
        self.fresh_target = flags.get("fresh_target", False)
        self.counts_output = flags.get("counts_output", False)

    def contenders(self, inputs):
        found = {}
        for name, (needs, make) in self._contenders(inputs).items():
            if needs and os.access(needs, os.X_OK):
                found[name] = make
        return found


def tool(name):
    """The path of an installed program, or None."""
    if not installed(name):
        return None
    return next(path for path in (os.path.join(part, name) for part in os.environ["PATH"].split(":")) if os.access(path, os.X_OK))


def fixed(*stages, stdin=None):
    return lambda _: Command(*stages, stdin=stdin)


def plain_diff(i):
    return {
        "ldiff": (program(), fixed([program(), "diff", i.tree, "-o", "-"])),
        "ldiff --profile docker20": (program(), fixed([program(), "diff", i.tree, "-o", "-", "--profile", "docker20"])),
        "docker 20.10": (peer("peer-docker"), fixed([peer("peer-docker"), "diff", i.tree])),
        "containerd 1.6": (peer("peer-containerd"), fixed([peer("peer-containerd"), "diff", i.tree])),
        "GNU tar into cat": (tool("tar"), fixed(["tar", "-cf", "-", "-C", i.tree, "."], ["cat"])),
        "bsdtar": (tool("bsdtar"), fixed(["bsdtar", "-cf", "-", "-C", i.tree, "."])),
        "floor: read all (C)": (floor(), fixed([floor(), "read", i.tree])),
    }


def cold_diff(i):
    return {
        "ldiff": (program(), fixed([program(), "diff", i.tree, "-o", "-"])),
        "GNU tar into cat": (tool("tar"), fixed(["tar", "-cf", "-", "-C", i.tree, "."], ["cat"])),
        "bsdtar": (tool("bsdtar"), fixed(["bsdtar", "-cf", "-", "-C", i.tree, "."])),
        "floor: read all (C)": (floor(), fixed([floor(), "read", i.tree])),
    }


def size(i):
    return {
        "ldiff": (program(), fixed([program(), "size", i.tree])),
        "docker 20.10": (peer("peer-docker"), fixed([peer("peer-docker"), "size", i.tree])),
        "containerd 1.6 usage": (peer("peer-containerd"), fixed([peer("peer-containerd"), "usage", i.tree])),
        "du -sb": (tool("du"), fixed(["du", "-sb", i.tree])),
        "floor: stat all (C)": (floor(), fixed([floor(), "stat", i.tree])),
    }


def upper_changes(i):
    return {
        "ldiff": (program(), fixed([program(), "changes", i.tree, "--dialect", "overlay"])),
        "docker 20.10": (peer("peer-docker"), fixed([peer("peer-docker"), "changes", i.tree])),
        "containerd 1.6": (peer("peer-containerd"), fixed([peer("peer-containerd"), "changes", i.tree])),
        "floor: stat all (C)": (floor(), fixed([floor(), "stat", i.tree])),
    }


def tree_changes(i):
    old, new = i.tree, i.changed_tree()
    return {
        "ldiff": (program(), fixed([program(), "changes", new, "--lower", old])),
        "docker 20.10": (peer("peer-docker"), fixed([peer("peer-docker"), "changes", new, old])),
        "containerd 1.6": (peer("peer-containerd"), fixed([peer("peer-containerd"), "changes", new, old])),
        "rsync -an": (tool("rsync"), fixed(["rsync", "-an", "--delete", "-i", new + "/", old + "/"])),
    }


def apply(i):
    layer = i.layer()
    return {
        "ldiff": (program(), lambda root: Command([program(), "apply", layer, root])),
        "docker 20.10": (peer("peer-docker"), lambda root: Command([peer("peer-docker"), "apply", root], stdin=layer)),
        "containerd 1.6": (peer("peer-containerd"), lambda root: Command([peer("peer-containerd"), "apply", root], stdin=layer)),
        "GNU tar": (tool("tar"), lambda root: Command(["tar", "-xpf", layer, "-C", root])),
        "bsdtar": (tool("bsdtar"), lambda root: Command(["bsdtar", "-xpf", layer, "-C", root])),
        "floor: create (C)": (floor(), lambda root: Command([floor(), "create", layer, root])),
    }


def apply_gzip(i):
    plain, layer = i.layer(), i.gzip_layer()
    expect = ["--expect-digest", i.digest(layer), "--expect-diff-id", i.digest(plain)]
    return {
        "ldiff": (program(), lambda root: Command([program(), "apply", layer, root, *expect])),
        "containerd 1.6": (peer("peer-containerd"), lambda root: Command([peer("peer-containerd"), "apply-gz", root], stdin=layer)),
        "GNU tar xzf": (tool("tar"), lambda root: Command(["tar", "-xpzf", layer, "-C", root])),
        "igzip into GNU tar": (tool("igzip"), lambda root: Command(["igzip", "-dc", layer], ["tar", "-xpf", "-", "-C", root])),
    }


def gzip_diff(i):
    archive = ["tar", "-cf", "-", "-C", i.tree, "."]
    return {
        "ldiff": (program(), fixed([program(), "diff", i.tree, "-o", "-", "--compress", "gzip", "--digest"])),
        "containerd 1.6": (peer("peer-containerd"), fixed([peer("peer-containerd"), "diff-gz", i.tree])),
        "GNU tar into pigz -6": (tool("pigz"), fixed(archive, ["pigz", "-6", "-c"])),
        "GNU tar into igzip -1": (tool("igzip"), fixed(archive, ["igzip", "-1", "-c"])),
    }


def zstd_diff(i):
    layer = i.layer()
    return {
        "ldiff": (program(), fixed([program(), "diff", i.tree, "-o", "-", "--compress", "zstd", "--level", "3", "--digest"])),
        "zstd -3 -T2, finished tar": (tool("zstd"), fixed(["zstd", "-3", "-T2", "-c", "-q", layer])),
    }


def growth(i):
    million = corpus("million")
    return {
        "ldiff": (program(), fixed([program(), "diff", million, "-o", "-"])),
        "ldiff size, this input": (program(), fixed([program(), "size", i.tree])),
        "ldiff size, million": (program(), fixed([program(), "size", million])),
        "docker 20.10": (peer("peer-docker"), fixed([peer("peer-docker"), "diff", million])),
        "GNU tar into cat": (tool("tar"), fixed(["tar", "-cf", "-", "-C", million, "."], ["cat"])),
    }


def start(i):
    def small(path):
        os.mkdir(path)
        for index in range(10):
            with open(os.path.join(path, "file%d" % index), "w", encoding="ascii") as file:
                file.write("entry %d\n" % index)
    tree = i.derived(".ten", small)
    return {
        "ldiff": (program(), fixed([program(), "diff", tree, "-o", "-"])),
        "ldiff --help": (program(), fixed([program(), "--help"])),
        "docker 20.10": (peer("peer-docker"), fixed([peer("peer-docker"), "diff", tree])),
        "GNU tar into cat": (tool("tar"), fixed(["tar", "-cf", "-", "-C", tree, "."], ["cat"])),
        "true": (tool("true"), fixed(["true"])),
    }


JOBS = {job.identity: job for job in [
    Job("P1", "Diff, warm, plain tar to a null sink",
        "At least: bsdtar / ldiff 3.5, containerd / ldiff 4, Docker 20.10 / ldiff 5.5; peak at most 96 MiB.", plain_diff),
    Job("P2", "Diff, cold", "At least: GNU tar / ldiff 3.5.", cold_diff, cold=True),
    Job("P3", "DiffSize", "At least: Docker / ldiff 3, du / ldiff 1.7.", size),
    Job("P4", "Changes of an overlay layer", "At least: Docker / ldiff 5.5, containerd / ldiff 2.3.", upper_changes),
    Job("P5", "Changes of two full trees, five differences", "At least: Docker / ldiff 5.", tree_changes),
    Job("P6", "ApplyDiff, warm tar, fresh ext4",
        "At least: Docker / ldiff 2.8, containerd / ldiff 2.4, GNU tar / ldiff 1.6.", apply, fresh_target=True),
    Job("P7", "ApplyDiff of tar.gz, both digests verified, fresh ext4",
        "At least: containerd / ldiff 3, tar xzf / ldiff 2.1.", apply_gzip, fresh_target=True),
    Job("P8", "Diff to tar.gz, both digests",
        "At least: containerd / ldiff 12, at its size + 25 %.", gzip_diff, counts_output=True),
    Job("P9", "Diff to tar.zst, level 3, both digests",
        "ldiff within 1.35 of zstd on the finished tar (ratio at least 0.74).", zstd_diff, counts_output=True),
    Job("P11", "Growth: 1,000,000 entries",
        "Metadata cost per entry at most 1.25 of this input's; peak at most 250 MiB.", growth),
    Job("P12", "Ten entries, process start included",
        "Under 3 ms of work after start; start-up under 15 ms (each process is started through GNU time, see `true`).", start),
]}
