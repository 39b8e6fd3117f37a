"""Compares two trees entry by entry: kind, mode, owner, time, content, links, devices, extended attributes, hard links.

  python3 perf/trees.py ONE OTHER      prints each difference; status 1 when there is one
"""
import os
import stat
import sys

# What a layer of the full profile does not carry: bound to the machine, or to a kernel feature (layer-archive D14, D31).
NOT_CARRIED = (b"security.evm", b"security.selinux", b"trusted.", b"user.overlay.", b"user.fuseoverlayfs.")


def entries(root):
    """path -> lstat of everything below a root. Sockets are left out: no layer format has them."""
    found, pending = {}, [b""]
    while pending:
        parent = pending.pop()
        with os.scandir(os.path.join(root, parent)) as listing:
            for entry in listing:
                path = os.path.join(parent, entry.name)
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISSOCK(status.st_mode):
                    continue
                found[path] = status
                if stat.S_ISDIR(status.st_mode):
                    pending.append(path)
    return found


def attributes(path):
    result = {}
    for name in os.listxattr(path, follow_symlinks=False):
        if not os.fsencode(name).startswith(NOT_CARRIED):
            result[name] = os.getxattr(path, name, follow_symlinks=False)
    return result


def same_content(one, other):
    with open(one, "rb") as first, open(other, "rb") as second:
        while True:
            block = first.read(1 << 20)
            if block != second.read(1 << 20):
                return False
            if not block:
                return True


def link_groups(found):
    """The names of each inode that has several in this tree."""
    groups = {}
    for path, status in found.items():
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            groups.setdefault((status.st_dev, status.st_ino), set()).add(path)
    return {frozenset(paths) for paths in groups.values() if len(paths) > 1}


def entry_differences(one, other, path, first, second):
    here, there = os.path.join(one, path), os.path.join(other, path)
    if stat.S_IFMT(first.st_mode) != stat.S_IFMT(second.st_mode):
        yield "kind", "%o" % first.st_mode, "%o" % second.st_mode
        return
    pairs = [("mode", "%o" % first.st_mode, "%o" % second.st_mode),
             ("owner", (first.st_uid, first.st_gid), (second.st_uid, second.st_gid)),
             # Layers carry whole seconds, as Docker's and containerd's do.
             ("mtime", first.st_mtime_ns // 10**9, second.st_mtime_ns // 10**9),
             ("attributes", attributes(here), attributes(there))]
    if stat.S_ISLNK(first.st_mode):
        pairs.append(("target", os.readlink(here), os.readlink(there)))
    elif stat.S_ISREG(first.st_mode):
        pairs.append(("size", first.st_size, second.st_size))
        if first.st_size == second.st_size and not same_content(here, there):
            yield "content", "differs", ""
    elif stat.S_ISCHR(first.st_mode) or stat.S_ISBLK(first.st_mode):
        pairs.append(("device", first.st_rdev, second.st_rdev))
    for what, left, right in pairs:
        if left != right:
            yield what, left, right


def compare(one, other):
    """Returns (entries compared, hard-link groups compared, list of differences as text)."""
    one, other = os.fsencode(one), os.fsencode(other)
    first, second = entries(one), entries(other)
    differences = ["only in %s: %r" % (os.fsdecode(one), path) for path in sorted(first.keys() - second.keys())]
    differences += ["only in %s: %r" % (os.fsdecode(other), path) for path in sorted(second.keys() - first.keys())]
    for path in sorted(first.keys() & second.keys()):
        for what, left, right in entry_differences(one, other, path, first[path], second[path]):
            differences.append("%s of %r: %r, %r" % (what, path, left, right))
    groups, copies = link_groups(first), link_groups(second)
    differences += ["hard links differ: %r" % sorted(names) for names in groups ^ copies]
    return len(first), len(groups), differences


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    count, groups, differences = compare(sys.argv[1], sys.argv[2])
    print("\n".join(differences[:50]) if differences else "the same: %d entries, %d groups of hard links" % (count, groups))
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
