"""The content of an ONNX file, which may be somebody else's, before anything runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MAX_MB = 1000
_WANT = "want a file that Inflect exported"


def read_graph(path: Path) -> bytes:
    """Read an ONNX file whose graph takes a foreseeable number of steps and reads no other file.

    Raises
    ------
    ValueError
        if the file is too large, is not ONNX, or holds what stages.exporting never writes: an
        operator with a graph of its own, such as a loop, which may never end; functions, which may
        expand without limit; operators of another domain; weights in another file
    """
    try:
        size = path.stat().st_size
        if size > MAX_MB * 1e6:
            raise ValueError(f"got {size / 1e6:.0f} MB, want at most {MAX_MB} MB")
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}; {_WANT}") from error
    check_model(content)
    return content


def check_model(content: bytes) -> None:
    """Raise the ValueError of `read_graph` about the content of a file."""
    try:
        _check_model(memoryview(content))
    except IndexError:
        raise ValueError(f"cannot be loaded: not in the format ONNX; {_WANT}") from None


# Numbers of fields are those of onnx.proto. Reading them here spares the library onnx, and leaves
# no message unread that onnxruntime would read.


def _check_model(model: memoryview) -> None:
    graphs = 0
    for number, value in _fields(model):
        if number in (20, 25):  # training_info, functions
            raise ValueError(f"got {'training' if number == 20 else 'functions'}; {_WANT}")
        if number == 7:
            graphs += 1
            _check_graph(_message(value))
    if not graphs:
        raise IndexError


def _check_graph(graph: memoryview) -> None:
    for number, value in _fields(graph):
        if number == 1:
            _check_node(_message(value))
        elif number == 5:
            _check_tensor(_message(value))
        elif number == 15:
            raise ValueError(f"got sparse weights; {_WANT}")


def _check_node(node: memoryview) -> None:
    fields = [(number, _message(v)) for number, v in _fields(node) if number in (4, 5, 7)]
    kind, domain = (b"".join(bytes(v) for n, v in fields if n == name) for name in (4, 7))
    operator = f"the operator {kind[:50].decode('ascii', 'replace')!r}"
    if domain not in (b"", b"ai.onnx"):
        where = domain[:50].decode("ascii", "replace")
        raise ValueError(f"got {operator} of {where!r}, want one of ONNX; {_WANT}")
    for number, attribute in fields:
        for inner, value in _fields(attribute) if number == 5 else ():
            if inner in (6, 11):
                raise ValueError(f"got {operator} with a graph of its own; {_WANT}")
            if inner in (22, 23):
                raise ValueError(f"got sparse weights; {_WANT}")
            if inner in (5, 10):
                _check_tensor(_message(value))


def _check_tensor(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        if number == 13 or (number == 14 and value != 0):
            raise ValueError(f"got weights in another file; {_WANT}")


def _message(value: int | memoryview) -> memoryview:
    """Return a field that holds a message; an IndexError says that it holds a number."""
    if isinstance(value, int):
        raise IndexError
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of each field; an IndexError says that there is no field."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        key &= 0xFFFFFFFF  # protobuf drops higher bits
        kind = key & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        if kind == 2:
            size, place = _varint(message, place)
        else:
            size = {1: 8, 5: 4}.get(kind, len(message))
        if place + size > len(message):
            raise IndexError
        yield key >> 3, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise IndexError
