"""Every operation that an autodiff engine asks of its library, against plain NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import pytest
from fixture_types import Need
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_ops import NumpyOps

from faceinv.engine.local_autodiff.ops import ArrayOps, Kind

REFERENCE = NumpyOps()
KINDS: tuple[Kind, ...] = get_args(Kind)
FLOATS: tuple[Kind, ...] = ("float32", "float64")
ROUNDING = {"float32": 1e-5, "float64": 1e-13}
"""Relative to the max norm: sums of some ten products in another order."""
some = settings(max_examples=25, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module", params=["torch", "mxnet"])
def ops(request: pytest.FixtureRequest, usable: Need) -> ArrayOps:
    """Each library's."""
    usable(request.param)
    if request.param == "torch":
        import torch

        from faceinv.backends.torch_autodiff.ops import TorchOps

        return TorchOps(torch.device("cpu"))
    from faceinv.backends.mxnet_autodiff.library import load_mxnet
    from faceinv.backends.mxnet_autodiff.ops import MxnetOps

    mxnet = load_mxnet()
    return MxnetOps(mxnet, mxnet.cpu())


def draw(seed: int, *shape: int, kind: Kind = "float64") -> np.ndarray:
    """Numbers of either sign, with zeros and repetitions among them."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(-6, 7, shape)
    return (whole if kind.startswith("int") else whole + rng.choice([0.0, 0.25, rng.normal()], shape)).astype(kind)


def check(got: Any, want: Any, bound: float = 0.0) -> None:
    """The same type and shape, and values within a share of the max norm."""
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    scale = float(np.abs(want).max(initial=0.0)) if want.dtype.kind == "f" else 1.0
    assert np.abs(got.astype(np.float64) - want.astype(np.float64)).max(initial=0.0) <= bound * scale


def both(
    ops: ArrayOps, operation: Callable[[ArrayOps, list[Any]], Any], *hosts: np.ndarray, bound: float = 0.0
) -> None:
    """One operation on the same arrays, by the library and by NumPy; its input stays as it was."""
    arrays = [ops.upload(host, host.dtype.name) for host in hosts]  # type: ignore[arg-type]
    want = operation(REFERENCE, [host.copy() for host in hosts])
    check(ops.download(operation(ops, arrays)), want, bound)
    for array, host in zip(arrays, hosts, strict=True):
        assert np.array_equal(ops.download(array), host)


@pytest.mark.parametrize("kind", KINDS)
def test_up_and_down(ops: ArrayOps, kind: Kind) -> None:
    for shape in ((1,), (5,), (2, 3), (2, 3, 4)):
        host = draw(1, *shape, kind=kind)
        array = ops.upload(host, kind)
        check(ops.download(array), host)
        kept = host.copy()
        host += 1
        assert np.array_equal(ops.download(array), kept), "the device shares memory with the host"


def test_upload_converts(ops: ArrayOps) -> None:
    check(ops.download(ops.upload(np.array([1, -2, 3], np.int32), "float64")), np.array([1.0, -2.0, 3.0]))
    check(ops.download(ops.upload(np.array([0.1]), "float32")), np.array([0.1], np.float32))
    large = np.array([2**62 - 1, -(2**62) + 1])
    check(ops.download(ops.upload(large, "int64")), large)


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_cast(ops: ArrayOps, kind: Kind, to: Kind) -> None:
    both(ops, lambda o, a: o.cast(a[0], to), draw(2, 40, kind=kind))


def test_cast_keeps_large_integers(ops: ArrayOps) -> None:
    both(ops, lambda o, a: o.cast(a[0], "int64"), np.array([2.0**53, -(2.0**61)]))
    both(ops, lambda o, a: o.cast(a[0], "float64"), np.array([2**53, -(2**61)]))


@given(start=st.integers(-50, 2**40), count=st.integers(1, 70))
@some
def test_arange(ops: ArrayOps, start: int, count: int) -> None:
    check(ops.download(ops.arange(start, start + count)), REFERENCE.arange(start, start + count))


@pytest.mark.parametrize("kind", KINDS)
def test_full(ops: ArrayOps, kind: Kind) -> None:
    for shape, value in (((3,), 2), ((2, 4), -1), ((1, 1, 5), 0)):
        check(ops.download(ops.full(shape, value, kind)), REFERENCE.full(shape, value, kind))
    check(ops.download(ops.full((2,), -(2**62), "int64")), REFERENCE.full((2,), -(2**62), "int64"))


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds, rows=st.integers(1, 9), tail=st.lists(st.integers(1, 4), max_size=2), count=st.integers(1, 12))
@some
def test_take(ops: ArrayOps, kind: Kind, seed: int, rows: int, tail: list[int], count: int) -> None:
    table, rng = draw(seed, rows, *tail, kind=kind), np.random.default_rng(seed)
    for shape in ((count,), (count, 3)):
        both(ops, lambda o, a: o.take(a[0], a[1]), table, rng.integers(0, rows, shape))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_stack(ops: ArrayOps, kind: Kind, axis: int) -> None:
    hosts = [draw(seed, 3, 4, kind=kind) for seed in range(3)]
    both(ops, lambda o, a: o.stack(a, axis), *hosts)
    both(ops, lambda o, a: o.stack(a[:1], axis), *hosts)


@pytest.mark.parametrize("kind", KINDS)
def test_transpose(ops: ArrayOps, kind: Kind) -> None:
    for shape in ((1, 1), (4, 1), (3, 5)):
        both(ops, lambda o, a: o.transpose(a[0]), draw(5, *shape, kind=kind))


@pytest.mark.parametrize("kind", FLOATS)
def test_arithmetic_stretches(ops: ArrayOps, kind: Kind) -> None:
    """Axes that one array lacks, or has one place of, as in NumPy."""
    for shapes in (((4, 6), (6,)), ((3, 4, 6), (4, 6)), ((3, 1), (3, 6)), ((5, 3, 1, 1), (1, 3, 3, 1))):
        hosts = [draw(seed, *shape, kind=kind) for seed, shape in enumerate(shapes)]
        both(ops, lambda o, a: a[0] * a[1], *hosts)
        both(ops, lambda o, a: a[1] - a[0], *hosts)
        both(ops, lambda o, a: a[0] + a[1], *hosts)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_concatenate(ops: ArrayOps, kind: Kind, axis: int) -> None:
    shapes = [[2, 3, 4] for _ in range(3)]
    for number, shape in enumerate(shapes):
        shape[axis] = number + 1
    hosts = [draw(seed, *shape, kind=kind) for seed, shape in enumerate(shapes)]
    both(ops, lambda o, a: o.concatenate(a, axis), *hosts)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds)
@some
def test_conditions_multiply_and_select(ops: ArrayOps, kind: Kind, seed: int) -> None:
    """Comparisons as the engine writes them: with numbers and with arrays, and-ed by products, or-ed by sums."""
    a, b = draw(seed, 30, kind=kind), draw(seed + 1, 30, kind=kind)

    def chosen(o: ArrayOps, arrays: list[Any]) -> Any:
        first, second = arrays
        inside = o.flag(first > -3) * o.flag(first <= second)
        return o.where(inside + o.flag(second == 0) * o.flag(first < -3), first, second)

    both(ops, chosen, a, b)
    both(ops, lambda o, x: o.where(o.flag(x[0] >= 0), x[1], -1), a, b)
    rows = draw(seed + 2, 30, 3, kind=kind)
    both(ops, lambda o, x: o.where(o.flag(x[0] >= 0), x[1], 0), a, rows)
    both(ops, lambda o, x: o.where(o.flag(x[0] >= 0), x[1], x[2]), a, rows, rows[::-1].copy())


def test_nan_fails_every_comparison(ops: ArrayOps) -> None:
    host = np.array([np.nan, 1.0, np.inf, -np.inf])
    array = ops.upload(host, "float64")
    for condition, want in (
        (array <= 5.0, [0, 1, 0, 1]),
        (array >= -5.0, [0, 1, 1, 0]),
        (array - array == 0.0, [0, 1, 0, 0]),
    ):
        check(ops.download(ops.where(ops.flag(condition), ops.full((4,), 1, "int64"), 0)), np.array(want))


@pytest.mark.parametrize("kind", FLOATS)
@given(seed=seeds, bound=st.sampled_from([-2.0, 0.0, 1e-24, 0.25, 3.0]))
@some
def test_elementwise(ops: ArrayOps, kind: Kind, seed: int, bound: float) -> None:
    a, b = draw(seed, 5, 6, kind=kind), draw(seed + 1, 5, 6, kind=kind)
    unit = float(np.finfo(kind).eps)  # MXNet reads numbers from text, PyTorch's roots are off by one digit at times
    both(ops, lambda o, x: o.at_least(x[0], bound), a, bound=unit)
    both(ops, lambda o, x: o.at_most(x[0], bound), a, bound=unit)
    both(ops, lambda o, x: o.absolute(x[0]), a)
    both(ops, lambda o, x: o.smaller(x[0], x[1]), a, b)
    both(ops, lambda o, x: o.floor(x[0]), a)
    both(ops, lambda o, x: o.sqrt(x[0]), np.abs(a), bound=unit)


def test_integers_have_a_smaller_and_a_least(ops: ArrayOps) -> None:
    a, b = draw(3, 20, kind="int64") * 2**40, draw(4, 20, kind="int64") * 2**40
    both(ops, lambda o, x: o.smaller(x[0], x[1]), a, b)
    both(ops, lambda o, x: o.at_least(x[0], 0), draw(5, 20, kind="int64"))


@given(flags=st.lists(st.booleans(), min_size=1, max_size=60))
@some
def test_nonzero(ops: ArrayOps, flags: list[bool]) -> None:
    host = np.array(flags, np.int32)
    places = ops.nonzero(ops.flag(ops.upload(host, "int32") > 0))
    want = REFERENCE.nonzero(host > 0)
    if want is None:
        assert places is None
    else:
        check(ops.download(ops.cast(places, "int64")), want)
        table = draw(1, len(flags))
        check(ops.download(ops.take(ops.upload(table, "float64"), places)), table[want])  # it serves as an index


@given(values=st.lists(st.integers(0, 2**50), min_size=1, max_size=40))
@some
def test_running_sum(ops: ArrayOps, values: list[int]) -> None:
    both(ops, lambda o, a: o.running_sum(a[0]), np.array(values))


@given(
    steps=st.lists(st.integers(1, 9), max_size=20),
    first=st.integers(0, 30),
    count=st.integers(1, 60),
    shift=st.integers(0, 9),
)
@some
def test_last_at_most(ops: ArrayOps, steps: list[int], first: int, count: int, shift: int) -> None:
    ascending = np.concatenate([[first - shift], first - shift + np.cumsum(np.array(steps, np.int64))])
    both(ops, lambda o, a: o.last_at_most(a[0], a[1]), ascending, np.arange(first, first + count))


@given(seed=seeds, places=st.integers(1, 12), count=st.integers(1, 80))
@some
def test_scatter_max(ops: ArrayOps, seed: int, places: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    target, values = rng.integers(-5, 5, places) * 2**58, rng.integers(-9, 9, count) * 2**57 + rng.integers(0, 3, count)
    both(ops, lambda o, a: o.scatter_max(*a), target, rng.integers(0, places, count), values)


@pytest.mark.parametrize("kind", FLOATS)
@given(seed=seeds, sizes=st.lists(st.integers(0, 5), min_size=1, max_size=12), columns=st.integers(1, 6))
@some
def test_combine(ops: ArrayOps, kind: Kind, seed: int, sizes: list[int], columns: int) -> None:
    """Rows without entries are zero; an index may come twice in a row."""
    sizes = [*sizes, 2]  # arrays are never empty
    rng = np.random.default_rng(seed)
    start = np.concatenate([[0], np.cumsum(sizes)])
    index = rng.integers(0, 7, start[-1])
    both(
        ops,
        lambda o, a: o.combine(o.sparse_rows(start, index, 7), a[0], a[1]),
        draw(seed, int(start[-1]), kind=kind),
        draw(seed + 1, 7, columns, kind=kind),
        bound=ROUNDING[kind],
    )


@pytest.mark.parametrize("kind", FLOATS)
@given(seed=seeds, rows=st.integers(1, 9), columns=st.integers(1, 7))
@some
def test_products(ops: ArrayOps, kind: Kind, seed: int, rows: int, columns: int) -> None:
    rng, bound = np.random.default_rng(seed), ROUNDING[kind]
    table, vector = draw(seed, rows, columns, kind=kind), draw(seed + 1, columns, kind=kind)
    weight = draw(seed + 2, 8, 3, kind=kind)
    both(ops, lambda o, a: o.blend(*a), rng.integers(0, rows, (8, 3)), weight, table, bound=bound)
    both(ops, lambda o, a: o.multiply(*a), table, vector, bound=bound)
    both(ops, lambda o, a: o.multiply(*a), table, draw(seed + 3, columns, 4, kind=kind), bound=bound)
    both(ops, lambda o, a: o.multiply_transposed(*a), table, draw(seed + 4, rows, kind=kind), bound=bound)
    both(ops, lambda o, a: o.multiply_transposed(*a), table, draw(seed + 3, rows, 4, kind=kind), bound=bound)
    left, right = draw(seed, rows, 2, 3, kind=kind), draw(seed + 1, rows, 3, columns, kind=kind)
    both(ops, lambda o, a: o.multiply_each(*a), left, right, bound=bound)


@pytest.mark.parametrize("kind", FLOATS)
@given(seed=seeds, rows=st.integers(1, 12), columns=st.integers(1, 7))
@some
def test_gram(ops: ArrayOps, kind: Kind, seed: int, rows: int, columns: int) -> None:
    """The upper triangle is what is read of it."""
    host = draw(seed, rows, columns, kind=kind)
    got = ops.download(ops.gram(ops.upload(host, kind)))
    check(np.triu(got), np.triu(REFERENCE.gram(host)), ROUNDING[kind])


@given(seed=seeds, pixels=st.integers(1, 9))
@some
def test_differentiate(ops: ArrayOps, seed: int, pixels: int) -> None:
    """Three inputs, one of them used twice, and a constant that is stretched."""
    rng = np.random.default_rng(seed)
    hosts = [rng.uniform(0.5, 2.0, (2, pixels)) for _ in range(3)]
    gamma = rng.uniform(-1.0, 1.0, (2, 1))

    def differentiated(o: ArrayOps) -> tuple[Any, list[Any]]:
        factor = o.upload(gamma, "float64")

        def function(inputs: Sequence[Any]) -> Any:
            x, y, z = inputs
            inverse = 1.0 / o.sqrt(o.at_least(x * x + y * y + z * z, 1e-24))
            return factor * (x * inverse) + y * inverse * (z * inverse)

        return o.differentiate(function, [o.upload(host, "float64") for host in hosts])

    value, slopes = differentiated(ops)
    expected, wanted = differentiated(REFERENCE)
    check(ops.download(value), expected, 1e-13)
    assert len(slopes) == 3
    for got, want in zip(slopes, wanted, strict=True):
        assert np.abs(ops.download(got) - want).max() < 1e-7


def test_every_operation_is_tested_here() -> None:
    import inspect
    import sys

    source = inspect.getsource(sys.modules[__name__])
    for name in ArrayOps.__abstractmethods__:
        assert f".{name}(" in source, f"no test calls {name}"


@pytest.mark.parametrize("kind", FLOATS)
def test_logarithms_sums_and_borders(ops: ArrayOps, kind: Kind) -> None:
    values = np.abs(draw(3, 2, 3, 4, kind=kind)) + np.asarray(0.25, kind)
    both(ops, lambda o, a: o.log(a[0]), values, bound=ROUNDING[kind])
    both(ops, lambda o, a: o.sums(a[0]), values, bound=ROUNDING["float64"])
    both(ops, lambda o, a: o.bordered(a[0]), values)
