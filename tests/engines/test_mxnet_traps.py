"""What goes wrong with MXNet 1.9.1, and that the engine does not fall for it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from fixture_types import Need

from faceinv.errors import BackendError


@pytest.fixture(scope="module")
def ops(usable: Need) -> Any:
    usable("mxnet")
    from faceinv.backends.mxnet_autodiff.library import load_mxnet
    from faceinv.backends.mxnet_autodiff.ops import MxnetOps

    mxnet = load_mxnet()
    return MxnetOps(mxnet, mxnet.cpu())


def test_numpy_is_left_as_it_was(need: Need) -> None:
    """The name lent to MXNet's import is taken back, and warnings turned into errors do not stop the import."""
    need("mxnet")
    script = (
        "import numpy, warnings; before = set(vars(numpy)); warnings.simplefilter('error')\n"
        "from faceinv.backends.mxnet_autodiff.library import load_mxnet\n"
        "load_mxnet(); load_mxnet()\n"
        "assert 'bool' not in vars(numpy), 'numpy.bool is still there'\n"
        "assert 'bool' not in set(vars(numpy)) - before"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_numpy_2_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence that says what to do."""
    from faceinv.backends.mxnet_autodiff.library import load_mxnet

    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(BackendError, match=r"cannot work with NumPy 2\.1\.0.*faceinv\[mxnet\]"):
        load_mxnet()


def test_import_that_fails_leaves_numpy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from faceinv.backends.mxnet_autodiff.library import load_mxnet

    before = set(vars(np))
    monkeypatch.setattr(np, "__version__", "1.26.4")
    monkeypatch.setitem(sys.modules, "mxnet", None)  # an import of None raises
    with pytest.raises(BackendError, match="cannot be imported"):
        load_mxnet()
    assert set(vars(np)) == before


def test_duplicate_indices(ops: Any) -> None:
    """`scatter_nd` keeps one of several values; the engine's sums and maxima use all of them."""
    values, where = ops.upload(np.array([1.0, 2.0, 4.0]), "float64"), ops.upload(np.array([[1, 1, 2]]), "int64")
    assert ops.nd.scatter_nd(values, where, shape=(4,)).asnumpy()[1] != 3, "MXNet now adds; the note is out of date"
    pattern = ops.sparse_rows(np.array([0, 0, 3, 3]), np.array([1, 1, 0]), 2)
    table = ops.upload(np.array([[10.0, 1.0], [1.0, 2.0]]), "float64")
    assert np.array_equal(ops.combine(pattern, values, table).asnumpy(), [[0, 0], [43, 10], [0, 0]])
    rng = np.random.default_rng(0)
    place, keys = rng.integers(0, 50, 20_000), rng.integers(-(2**61), 2**61, 20_000)
    start = np.full(50, -(2**62))
    expected = start.copy()
    np.maximum.at(expected, place, keys)
    target = ops.upload(start, "int64")
    raised = ops.scatter_max(target, ops.upload(place, "int64"), ops.upload(keys, "int64"))
    assert np.array_equal(raised.asnumpy(), expected)
    assert np.array_equal(target.asnumpy(), start), "the target was changed in place"


def test_derivatives_are_first_order_and_not_zero(ops: Any) -> None:
    """Differentiating a gradient once more gives zeros in silence; one seeded pass does not."""
    x = ops.upload(np.array([[0.5, 2.0, -1.0]] * 2), "float64")
    factor = ops.upload(np.array([[1.0], [3.0]]), "float64")
    value, (slope,) = ops.differentiate(lambda inputs: inputs[0] * inputs[0] * factor, [x])
    assert np.array_equal(value.asnumpy(), [[0.25, 4.0, 1.0], [0.75, 12.0, 3.0]])
    assert np.array_equal(slope.asnumpy(), [[1.0, 4.0, -2.0], [3.0, 12.0, -6.0]])


def test_large_indices(ops: Any) -> None:
    """Float32 cannot count past 2^24; the engine's indices can."""
    count = 2**24 + 4
    table = ops.arange(0, count)
    wanted = np.array([2**24 - 1, 2**24, 2**24 + 1, 2**24 + 3])
    assert np.array_equal(ops.take(table, ops.upload(wanted, "int64")).asnumpy(), wanted)
    mask = ops.full((count,), 0, "int32")
    mask[2**24 + 1] = 1
    assert np.array_equal(ops.nonzero(mask).asnumpy(), [2**24 + 1])
    ascending = ops.upload(np.array([0, 5, 2**24 + 1]), "int64")
    numbers = ops.arange(2**24 - 2, 2**24 + 4)
    assert np.array_equal(ops.last_at_most(ascending, numbers).asnumpy(), [1, 1, 1, 2, 2, 2])


def test_64_bit_integers(ops: Any) -> None:
    """Edge functions reach 2^57, beyond what float64 counts exactly."""
    a, b = np.array([2**28 + 1, -(2**28) - 3]), np.array([2**29 - 1, 2**29 + 5])
    product = ops.upload(a, "int64") * ops.upload(b, "int64") + ops.upload(a, "int64") + 1
    assert np.array_equal(product.asnumpy(), a * b + a + 1)
    assert np.array_equal((product > 0).asnumpy(), [1, 0])


def test_sparse_matrices_beyond_the_limit(ops: Any) -> None:
    """2^31 elements and more, zeros counted, are refused by MXNet; the engine multiplies in chunks of rows."""
    rows, columns = 300, 2**23
    index = np.arange(rows) * 7
    pattern = ops.sparse_rows(np.arange(rows + 1), index, columns)
    assert len(pattern) > 1
    table = ops.nd.zeros((columns, 1), dtype="float64")
    table[:3000, 0] = ops.nd.arange(3000, dtype="float64")
    product = ops.combine(pattern, ops.full((rows,), 2.0, "float64"), table)
    assert np.array_equal(product.asnumpy()[:, 0], 2.0 * index)


def test_nothing_found(ops: Any) -> None:
    """MXNet has no empty arrays."""
    assert ops.nonzero(ops.full((5,), 0, "int32")) is None


def test_late_errors_are_reported(ops: Any) -> None:
    """A failing operation raises only when its value is fetched, and then as faceinv's own error."""
    not_positive = ops.upload(-np.eye(3), "float64")
    factor = ops.nd.linalg_potrf(not_positive)
    with pytest.raises(BackendError, match="MXNet failed in an earlier operation"):
        ops.download(factor)
