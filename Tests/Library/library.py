"""libldiff from Python, through ctypes and callbacks: a layer goes out into a bytearray and comes back."""
import ctypes
import json
import os
import sys

library = ctypes.CDLL(sys.argv[1])
os.chdir(sys.argv[2])

library.ldiff_version_string.restype = ctypes.c_char_p
library.ldiff_error_message.restype = ctypes.c_char_p
library.ldiff_report_json.restype = ctypes.c_char_p
WRITE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
READ = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_size_t))


class DiffOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t), ("upper", ctypes.c_char_p), ("lowers", ctypes.POINTER(ctypes.c_char_p)),
        ("lower_count", ctypes.c_size_t), ("dialect", ctypes.c_int32), ("profile", ctypes.c_int32),
        ("compression", ctypes.c_int32), ("level", ctypes.c_int32), ("workers", ctypes.c_int32),
        ("flags", ctypes.c_uint32), ("source_date_epoch", ctypes.c_int64), ("progress", ctypes.c_void_p),
        ("user", ctypes.c_void_p), ("cancel", ctypes.c_void_p)]


def check(code, error):
    if code:
        raise SystemExit(library.ldiff_error_message(error).decode())


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../Sources/packaging/ldiff.schema.json")) as file:
    definitions = json.load(file)["$defs"]


def compare(text, name):
    """The members of a report are those of the schema."""
    found, said = json.loads(text), definitions[name]
    assert set(said["required"]) <= set(found) <= set(said["properties"]), (name, text)


os.mkdir("python-tree")
for number in range(100):
    with open(f"python-tree/{number}", "w") as file:
        file.write("x" * number)
options = DiffOptions(
    struct_size=ctypes.sizeof(DiffOptions), upper=b"python-tree", compression=2, level=-(1 << 31), flags=4,
    source_date_epoch=-(1 << 63))
layer = bytearray()


@WRITE
def write(user, data, count):
    layer.extend(ctypes.string_at(data, count))
    return 0


position = 0


@READ
def read(user, buffer, capacity, count):
    global position
    piece = bytes(layer[position:position + capacity])
    ctypes.memmove(buffer, piece, len(piece))
    count[0] = len(piece)
    position += len(piece)
    return 0


report, error = ctypes.c_void_p(), ctypes.c_void_p()
check(library.ldiff_diff_callback(ctypes.byref(options), write, ctypes.byref(report), ctypes.byref(error)), error)
text = library.ldiff_report_json(report).decode()
assert '"entries":100' in text, text
compare(text, "libraryWrite")
library.ldiff_report_free(report)
check(library.ldiff_apply_callback(None, read, b"python-back", ctypes.byref(report), ctypes.byref(error)), error)
compare(library.ldiff_report_json(report).decode(), "libraryApply")
library.ldiff_report_free(report)
for number in range(100):
    assert os.path.getsize(f"python-back/{number}") == number
assert library.ldiff_apply_callback(None, read, b"/nonexistent/x", None, ctypes.byref(error)) == -7
library.ldiff_error_free(error)
print("libldiff from Python: passed, version", library.ldiff_version_string().decode())
