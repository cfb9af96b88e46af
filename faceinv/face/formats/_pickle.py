"""Reading published pickles without running them.

A pickle is a program; loading a stranger's can do anything. This reader admits the building blocks of numeric NumPy
arrays and nothing else. Classes that published models wrap their arrays in are replaced by inert stand-ins, so neither
chumpy nor torch nor SciPy's sparse classes are imported or called.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from faceinv.errors import ModelError

__all__ = ["load_arrays", "looks_like_pickle"]

_NPY_MAGIC: Final = b"\x93NUMPY"


class _Wrapped:
    """Stands in for `chumpy.ch.Ch`: keeps the array it holds."""

    array: Any = None

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.array = state.get("x")


class _Ignored:
    """Stands in for what no loader uses: sparse matrices, tensors, ordered dictionaries."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...


def _reconstruct(kind: object, shape: tuple[int, ...], dtype: Any) -> Any:
    """An empty array, whose content follows in the pickle."""
    return np.empty(shape, np.dtype(dtype.decode("latin1") if isinstance(dtype, bytes) else dtype))


def _scalar(dtype: Any, content: Any) -> Any:
    raw = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(raw, dtype)[0]


def _frombuffer(buffer: Any, dtype: Any, shape: tuple[int, ...], order: Any) -> Any:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """What Python 3 writes for bytes in an old pickle protocol."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes encoded as '{encoding}'")
    return text.encode("latin1")


def _new(kind: Any, *_: object) -> Any:
    """What Python 2 writes for an object of a new-style class."""
    return kind() if kind in (_Wrapped, _Ignored) else _Ignored()


_ADMITTED: Final[dict[tuple[str, str], Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    ("_codecs", "encode"): _encode,
    ("copy_reg", "_reconstructor"): _new,
    ("copyreg", "_reconstructor"): _new,
    ("__builtin__", "object"): _Ignored,
    ("builtins", "object"): _Ignored,
    ("chumpy.ch", "Ch"): _Wrapped,
    ("collections", "OrderedDict"): _Ignored,
    ("torch._utils", "_rebuild_tensor_v2"): _Ignored,
    ("torch.storage", "_load_from_bytes"): _Ignored,
    **{
        (f"scipy.sparse{module}", f"{layout}_matrix"): _Ignored
        for layout in ("csc", "csr", "coo")
        for module in ("", f".{layout}", f"._{layout}")
    },
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        admitted = _ADMITTED.get((module, name))
        if admitted is None:
            raise pickle.UnpicklingError(f"it asks for '{module}.{name}', which is no numeric array")
        return admitted

    def persistent_load(self, pid: object) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def looks_like_pickle(head: bytes) -> bool:
    """Whether a file that begins with `head` may be a pickle: protocols 2 and later, or an older one's usual starts."""
    return head[:1] == b"\x80" or head[:2] in (b"(d", b"(l", b"c_", b"cn", b"cc") or head[:3] in (b"cos", b"}q\x00")


def load_arrays(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle, or in an `.npy` file that wraps one: arrays and plain values under their names.

    Raises:
        ModelError: when the file is truncated, holds no dictionary, or asks for anything but numeric arrays. Nothing
            it asks for is imported or called.
    """
    try:
        with path.open("rb") as stream:
            if not _skip_npy_header(stream):
                raise ModelError(f"'{path}' holds an array of plain numbers, not a dictionary of arrays.")
            content = _ArrayUnpickler(stream, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"'{path}' was refused: {error}. Only pickles of numeric arrays are read; fetch the file from its owner."
        ) from None
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    except (EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError, MemoryError, OverflowError) as error:
        raise ModelError(f"'{path}' is not a complete pickle ({error or type(error).__name__}).") from None
    if isinstance(content, np.ndarray) and content.shape == () and content.dtype == object:
        content = content.item()
    if not isinstance(content, dict):
        raise ModelError(f"'{path}' holds no dictionary of arrays; is it a face model?")
    return {
        str(key): value.array if isinstance(value, _Wrapped) else value
        for key, value in content.items()
        if not isinstance(value, _Ignored)
    }


def _skip_npy_header(stream: BinaryIO) -> bool:
    """Move on to the pickle, which an `.npy` file may wrap; false where that holds plain numbers instead."""
    if stream.read(len(_NPY_MAGIC)) != _NPY_MAGIC:
        stream.seek(0)
        return True
    major = stream.read(2)[:1]
    width = 2 if major == b"\x01" else 4
    header = stream.read(int.from_bytes(stream.read(width), "little"))
    return b"'descr': '|O'" in header
