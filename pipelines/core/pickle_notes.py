"""Notes what a pickle would make, without making it.

A pickle is a program that builds objects, and may call any function on the way. Here its instructions are
read one by one (``pickletools``, which runs nothing), and objects are noted by name. A name or an instruction
that no scaler of scikit-learn consists of ends it. Both ``pickle.dump`` and ``joblib.dump`` are understood,
which puts arrays as raw bytes between the instructions. Needs the standard library alone.
"""

import io
import pickletools
import struct
from typing import Any, NamedTuple

#: Most instructions: one name of a column is two of them.
MOST_STEPS = 400_000
#: An array of objects (names of columns) is a pickle of its own inside joblib's; nothing is inside that.
DEEPEST = 1

STANDARD, RANGE = "StandardScaler", "MinMaxScaler"
WRAPPER, RECONSTRUCT, FROM_BUFFER = "NumpyArrayWrapper", "_reconstruct", "_frombuffer"
#: Bytes in pickles of protocol 2, which has none: a text with one letter for each.
ENCODE = "encode"
#: Everything that these scalers consist of, in the modules of all versions.
KNOWN = {
    **{f"sklearn.preprocessing.{m}.{name}": name for m in ("data", "_data") for name in (STANDARD, RANGE)},
    **{f"{m}joblib.numpy_pickle.{WRAPPER}": WRAPPER for m in ("", "sklearn.externals.")},
    **{f"numpy.{m}.multiarray.{RECONSTRUCT}": RECONSTRUCT for m in ("core", "_core")},
    **{f"numpy.{m}.numeric.{FROM_BUFFER}": FROM_BUFFER for m in ("core", "_core")},
    **{f"numpy.{m}.multiarray.scalar": "scalar" for m in ("core", "_core")},
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    f"_codecs.{ENCODE}": ENCODE,
}
#: NumPy's names of types to those of ``struct``; all may stand in either byte order.
NUMBERS = {"f8": "d", "f4": "f", "i8": "q", "i4": "i"}

#: Instructions that push their argument, that push a constant, and that say nothing.
ARGUMENTS = {
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
SILENT = {"PROTO", "FRAME", "STOP"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Refused(Exception):
    """It is no scaler that can be read; the text says why."""


class Name(NamedTuple):
    """A class or function that the pickle names; one of the values of :data:`KNOWN`."""

    name: str


class Made:
    """What the pickle would have made: whose instance or result, of which arguments, and its state."""

    def __init__(self, name: str, arguments: Any) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = None
        self.content: Any = None  # of an array: bytes, or the list of a pickle inside


class Machine:
    """Notes what a pickle would make.

    Args:
        file: the pickle; behind :meth:`load` it stands where the pickle ends.
        depth: how many pickles this one is inside of.
    """

    def __init__(self, file: io.BytesIO, depth: int = 0) -> None:
        self._file, self._depth = file, depth
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The one thing that the pickle makes. Raises Refused, or what damaged text raises."""
        for steps, (code, argument, _) in enumerate(pickletools.genops(self._file)):
            if steps == MOST_STEPS:
                raise Refused(f"it has more than {MOST_STEPS} instructions")
            if code.name in ARGUMENTS:
                self._stack.append(argument)
            elif code.name in CONSTANTS:
                self._stack.append(CONSTANTS[code.name])
            elif code.name in TUPLES:
                self._stack.append(tuple(self._above(len(self._stack) - TUPLES[code.name])))
            elif code.name not in SILENT:
                step = getattr(self, f"_{code.name.lower()}", None)
                if step is None:
                    raise Refused(f"it has an instruction {code.name}")
                step(argument)
        (made,) = self._stack
        return made

    def _above(self, height: int) -> list[Any]:
        """Take everything above a height off the stack."""
        if height < 0:
            raise ValueError("nothing is there")
        taken = self._stack[height:]
        del self._stack[height:]
        return taken

    # --- lists, dictionaries, repeated things

    def _mark(self, _: None) -> None:
        self._marks.append(len(self._stack))

    def _tuple(self, _: None) -> None:
        self._stack.append(tuple(self._above(self._marks.pop())))

    def _empty_list(self, _: None) -> None:
        self._stack.append([])

    def _empty_dict(self, _: None) -> None:
        self._stack.append({})

    def _append(self, _: None) -> None:
        self._extend(self._above(len(self._stack) - 1))

    def _appends(self, _: None) -> None:
        self._extend(self._above(self._marks.pop()))

    def _setitem(self, _: None) -> None:
        self._update(self._above(len(self._stack) - 2))

    def _setitems(self, _: None) -> None:
        self._update(self._above(self._marks.pop()))

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise Refused("it appends to what is no list")
        self._stack[-1].extend(items)

    def _update(self, items: list[Any]) -> None:
        keys, values = items[::2], items[1::2]
        if not isinstance(self._stack[-1], dict) or not all(isinstance(key, str) for key in keys):
            raise Refused("it has a dictionary whose keys are no text")
        self._stack[-1].update(zip(keys, values, strict=True))

    def _memoize(self, _: None) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _binput(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    _long_binput = _binput

    def _binget(self, place: int) -> None:
        self._stack.append(self._memo[place])

    _long_binget = _binget

    # --- objects

    def _global(self, argument: str) -> None:
        self._named(argument.replace(" ", ".", 1))

    def _stack_global(self, _: None) -> None:
        self._named(".".join(str(part) for part in self._above(len(self._stack) - 2)))

    def _named(self, full: str) -> None:
        if full not in KNOWN:
            raise Refused(f"it names {full[:100]!a}")
        self._stack.append(Name(KNOWN[full]))

    def _reduce(self, _: None) -> None:
        made, arguments = self._above(len(self._stack) - 2)
        if not isinstance(made, Name):
            raise Refused("it calls what is no class")
        self._stack.append(Made(made.name, arguments))

    _newobj = _reduce

    def _build(self, _: None) -> None:
        (state,) = self._above(len(self._stack) - 1)
        made = self._stack[-1]
        if not isinstance(made, Made):
            raise Refused("it gives a state to what has none")
        made.state = state
        if made.name == WRAPPER:
            made.content = self._raw(state)

    def _raw(self, state: dict[str, Any]) -> Any:
        """What joblib puts behind the instructions of an array: a padding and its bytes, or a pickle."""
        kind, count = state["dtype"], length(state["shape"])
        if type_name(kind) == "O8":
            if self._depth == DEEPEST:
                raise Refused("it has arrays of objects in arrays of objects")
            return content(Machine(self._file, self._depth + 1).load())
        if state.get("numpy_array_alignment_bytes") is not None:
            self._exactly(self._exactly(1)[0])
        return self._exactly(count * struct.calcsize(type_format(kind, 1)))

    def _exactly(self, size: int) -> bytes:
        found = self._file.read(size)
        if len(found) != size:
            raise Refused("it is cut short")
        return found


# --- what was noted ---------------------------------------------------------------


def type_name(made: Any) -> str:
    """``f8`` of a ``dtype``."""
    if not isinstance(made, Made) or made.name != "dtype":
        raise Refused("it has an array of no type")
    return str(made.arguments[0])


def type_format(made: Any, count: int) -> str:
    """``count`` numbers of a ``dtype`` for ``struct``."""
    name = type_name(made)
    order = made.state[1] if made.state else "<"
    if name not in NUMBERS or order not in {"<", ">"}:
        raise Refused(f"it has numbers of a type {order[:9]!a} {name[:9]!a}")
    return f"{order}{count}{NUMBERS[name]}"


def length(shape: Any) -> int:
    """Numbers of an array of one axis."""
    (count,) = shape
    if type(count) is not int or count < 0:
        raise Refused("it has an array of a strange shape")
    return count


def content(made: Any) -> Any:
    """The list of an array of objects as NumPy pickles it."""
    if not isinstance(made, Made) or made.name != RECONSTRUCT:
        raise Refused("it has names of columns in a strange form")
    return made.state[4]
