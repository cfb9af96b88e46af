"""The Python above the kernels: what it launches, checks and copies, and what it does without memory or a GPU."""

from __future__ import annotations

import dataclasses
import gc
import logging
import re
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from executor import CpuDevice
from problems import flat_scene, toy_chi, toy_model, toy_problem
from tolerances import TOLERANCE, assert_agrees

from faceinv.backends.cupy_cuda.differentiator import CudaDifferentiator
from faceinv.backends.cupy_cuda.engine import CudaEngine
from faceinv.backends.cupy_cuda.kernels import FILES
from faceinv.backends.cupy_cuda.kernels.geometry import POSE_CAMERAS
from faceinv.backends.cupy_cuda.launch.device import DeviceMemoryError
from faceinv.engine.host_solve import solve_on_host
from faceinv.engine.records import EngineSettings
from faceinv.engine.registry import build_engine
from faceinv.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.records import DType, Normals

_CAMERAS: dict[str, Any] = {
    "batch": 2,
    "parameters": 51,
    "pose": 15,
    "light": 24,
    "chi": np.zeros((2, 51)),
    "camera": np.zeros((2, 15)),
    "lighting": np.zeros((2, 27)),
}


def _bound(device: CpuDevice, batch: int = 2, **settings: str) -> CudaDifferentiator:
    engine = CudaEngine(device, toy_model(), EngineSettings(**settings))  # type: ignore[arg-type]
    found = engine.differentiator(toy_problem(batch))
    assert isinstance(found, CudaDifferentiator)
    return found


def test_every_kernel_is_declared() -> None:
    """As many as the text defines, each taking its own struct, which holds no more than CUDA passes by value."""
    names = [kernel.name for file in FILES.values() for kernel in file.kernels]
    assert len(names) == len(set(names)) == 37
    for file in FILES.values():
        assert file.text.count("__global__") == len(file.kernels)
        for kernel in file.kernels:
            assert re.search(rf"\b{kernel.name}\(const {kernel.struct_name}(<Real>)? p\)", file.text)
            assert kernel.layout.itemsize <= 4096


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"chi": np.zeros((2, 50))},
            ValueError,
            r"'chi' has shape \(2, 50\), expected \(batch, parameters\) = \(2, 51\)",
        ),
        ({"chi": np.zeros((2, 48), np.float32)}, TypeError, "'chi' is float32"),
        ({"chi": np.zeros((48, 2)).T}, TypeError, "contiguous: False"),
        ({"camera": None}, TypeError, "'camera' must not be absent"),
        ({"cameras": 1}, TypeError, "unknown arguments \\['cameras'\\]"),
    ],
)
def test_wrong_arguments(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CpuDevice().launch(POSE_CAMERAS, (1, 1, 1), 32, **{**_CAMERAS, **change})


def test_wrong_instances_and_grids() -> None:
    with pytest.raises(TypeError, match="no instance"):
        CpuDevice().launch(POSE_CAMERAS, (1, 1, 1), 32, template=("half",), **_CAMERAS)
    with pytest.raises(BackendError, match="exceeds CUDA's limits"):
        CpuDevice().launch(POSE_CAMERAS, (1, 65536, 1), 32, **_CAMERAS)
    with pytest.raises(TypeError, match="missing arguments"):
        CpuDevice().launch(POSE_CAMERAS, (1, 1, 1), 32, batch=1)


def test_only_scalars_cross() -> None:
    """In a step the host gets numbers of items and the step itself; no image, H, g or list."""
    device = CpuDevice()
    bound, chi, every = _bound(device), toy_chi(2), np.ones(2, np.bool_)
    count = chi.shape[1]
    device.copied_to_host = 0
    frozen = bound.freeze(chi)
    assert device.copied_to_host == 2 * 2 * 4  # |F| and the number of vertices
    linearization = bound.linearize(chi, frozen, every)
    assert device.copied_to_host == 16 + 2 * 3 * 8  # the three parts of E
    bound.solve(linearization, np.full(2, 1e-3), bound.renderer.layout.unknowns)
    assert device.copied_to_host == 64 + 2 * (count + 3) * 8
    bound.cost(chi, frozen, every)
    assert device.copied_to_host == 64 + 2 * (count + 3) * 8 + 48


def test_launches_do_not_grow_with_the_batch() -> None:
    counts = []
    for batch in (1, 2):
        device = CpuDevice()
        bound, chi, every = _bound(device, batch), toy_chi(batch), np.ones(batch, np.bool_)
        frozen = bound.freeze(chi)
        bound.linearize(chi, frozen, every)
        counts.append(len(device.launches))
        # The surface of the latest points is kept: a linearisation after a freeze has seven launches.
        assert counts[-1] <= 4 + 6 + 7
    assert counts[0] == counts[1]


def test_out_of_memory_halves_the_batch(caplog: pytest.LogCaptureFixture) -> None:
    """Half a batch at a time gives the same bits, and the user is told once."""
    chi, every = toy_chi(2), np.ones(2, np.bool_)
    plain = _bound(CpuDevice())
    whole = plain.linearize(chi, plain.freeze(chi), every)
    device = CpuDevice()
    bound = _bound(device)
    frozen = bound.freeze(chi)
    # The records of two photos do not fit, those of one do.
    device.largest = int(1.5 * 4 * 72 * 256 * np.ceil(frozen.pixels.max() / 256))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            halved = bound.linearize(chi, frozen, every)
    assert np.array_equal(halved.hessian, whole.hessian)
    assert np.array_equal(halved.gradient, whole.gradient)
    assert np.array_equal(halved.cost.total, whole.cost.total)
    assert [record.getMessage() for record in caplog.records] == [
        "CUDA on the CPU is out of memory for 2 photos at once; going on with half of them at a time."
    ]


class _Tight(CpuDevice):
    """A device with so many bytes in all, like a GPU's memory: arrays give theirs back when nobody holds them."""

    budget: float = float("inf")
    live = peak = 0

    def _room(self, array: NDArray[Any]) -> NDArray[Any]:
        if self.live + array.nbytes > self.budget:
            raise DeviceMemoryError(self.name, f"{array.nbytes} bytes asked for, {self.budget - self.live:.0f} free")
        self.live += array.nbytes
        self.peak = max(self.peak, self.live)
        weakref.finalize(array, self._gone, array.nbytes)
        return array

    def _gone(self, size: int) -> None:
        self.live -= size


def _step(bound: CudaDifferentiator, chi: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    every = np.ones(len(chi), np.bool_)
    frozen = bound.freeze(chi)
    made = bound.linearize(chi, frozen, every)
    trial = bound.cost(chi + 1e-4, frozen, every)
    return [made.cost.total, made.gradient, made.hessian, trial.total, bound.photometric_rmse(chi)]


@pytest.mark.parametrize("more", [0.0, 0.02, 0.2, 0.6])
def test_memory_is_used_to_the_end(more: float, caplog: pytest.LogCaptureFixture) -> None:
    """What is remembered to save time does not stand in the way: what one photo at a time needs is enough."""
    wanted = _step(_bound(CpuDevice()), toy_chi(2))
    device = _Tight()
    bound = _bound(device)
    bound._parts.items = 1
    device.peak = 0
    alone = _step(bound, toy_chi(2))
    least = device.peak
    bound._parts.items = 2
    device.peak = 0
    del alone
    _step(bound, toy_chi(2))
    assert device.peak > 1.1 * least
    del bound
    gc.collect()
    device = _Tight()
    bound = _bound(device)
    device.budget = least + more * least
    with caplog.at_level(logging.WARNING):
        found = _step(bound, toy_chi(2))
    for got, want in zip(found, wanted, strict=True):
        assert np.array_equal(got, want)
    assert len(caplog.records) <= 1
    if not more:
        assert bound._parts.count == 2
        assert len(caplog.records) == 1


def test_a_closed_engine_holds_no_memory() -> None:
    device = _Tight()
    engine = CudaEngine(device, toy_model(), EngineSettings())
    assert device.live > 0
    engine.close()
    gc.collect()
    assert device.live == 0


def test_no_memory_at_all() -> None:
    device = CpuDevice()
    bound, chi = _bound(device), toy_chi(2)
    frozen = bound.freeze(chi)
    device.largest = 20_000
    with pytest.raises(BackendError, match=r"no room for a batch of 2 photos.*Use smaller batches"):
        bound.freeze(chi)
    device.largest = 100_000
    with pytest.raises(BackendError, match="no room for even one photo"):
        bound.linearize(chi, frozen, np.ones(2, np.bool_))
    with pytest.raises(BackendError, match="no room for the model 'toy'"):
        CudaEngine(CpuDevice(largest=1000), toy_model(), EngineSettings())


@pytest.mark.parametrize("held", [[], [0, 1, 2, 20], list(range(1, 51)), list(range(51))])
@pytest.mark.parametrize("seed", [0, 5])
def test_solve(held: list[int], seed: int) -> None:
    bound, chi = _bound(CpuDevice(seed)), toy_chi(2)
    linearization = bound.linearize(chi, bound.freeze(chi), np.ones(2, np.bool_))
    free = bound.renderer.layout.unknowns.copy()
    free[held] = False
    damping = np.array([1e-3, 10.0])
    got = bound.solve(linearization, damping, free)
    want = solve_on_host(linearization.gradient, linearization.hessian, damping, free)
    assert_agrees(got.delta, want.delta, TOLERANCE["float64"], "delta")
    assert_agrees(got.predicted_decrease, want.predicted_decrease, TOLERANCE["float64"], "predicted decrease")
    assert_agrees(got.gradient_norm, want.gradient_norm, TOLERANCE["float64"], "gradient norm")
    assert got.solved.all()


def test_items_that_hold_different_entries_are_solved_as_alone() -> None:
    bound, chi = _bound(CpuDevice()), toy_chi(2)
    linearization = bound.linearize(chi, bound.freeze(chi), np.ones(2, np.bool_))
    unknowns, damping = bound.renderer.layout.unknowns, np.array([1e-3, 1.0])
    free = np.stack([unknowns, unknowns])
    # Beyond one warp's worth of entries in one of the two, so that the number of threads could have differed.
    free[0, 1:30] = False
    together = bound.solve(linearization, damping, free)
    on_host = solve_on_host(linearization.gradient, linearization.hessian, damping, free)
    assert_agrees(together.delta, on_host.delta, TOLERANCE["float64"], "delta")
    assert not together.delta[0, 1:30].any()
    for item, mask in enumerate(free):
        alone = bound.solve(linearization, damping, mask)
        assert np.array_equal(together.delta[item], alone.delta[item])
        assert together.predicted_decrease[item] == alone.predicted_decrease[item]
        assert together.gradient_norm[item] == alone.gradient_norm[item]


@pytest.mark.parametrize("value", [-1e9, np.nan])
def test_systems_that_are_not_positive_definite(value: float) -> None:
    """One item that cannot be solved is told apart and does not touch its neighbour."""
    bound, chi = _bound(CpuDevice()), toy_chi(2)
    linearization = bound.linearize(chi, bound.freeze(chi), np.ones(2, np.bool_))
    free = bound.renderer.layout.unknowns
    good = bound.solve(linearization, np.full(2, 1e-3), free)
    linearization.hessian[0, 4, 4] = value
    got = bound.solve(linearization, np.full(2, 1e-3), free)
    assert got.solved.tolist() == [False, True]
    assert not got.delta[0].any()
    assert np.array_equal(got.delta[1], good.delta[1])
    linearization.gradient[1, 0] = np.nan
    got = bound.solve(linearization, np.full(2, 1e-3), free)
    assert not got.solved.any()
    assert got.gradient_norm[1] >= 1e300, "never taken for convergence"


def test_vertex_with_many_neighbours() -> None:
    """A ring longer than a warp."""
    angles = np.linspace(0, 2 * np.pi, 51)[:-1]
    rim = [(8 + 6 * np.cos(a), 7 + 6 * np.sin(a), float(k % 3)) for k, a in enumerate(angles)]
    model = flat_scene([(8.0, 7.0, 9.0), *rim], [(0, 1 + k, 1 + (k + 1) % 50) for k in range(50)])
    rng = np.random.default_rng(3)
    object.__setattr__(model, "identity", rng.normal(size=(51, 3, 1)).astype(np.float32))
    cuda = CudaEngine(CpuDevice(3), model, EngineSettings(dtype="float64"))
    layout = cuda.renderer.layout
    chi = np.zeros((1, layout.count))
    chi[:, layout.lighting] = rng.normal(size=27)
    results = []
    for engine in (cuda, build_engine("numpy:float64", model)):
        bound = engine.differentiator(toy_problem(1, (14, 17)))
        frozen = bound.freeze(chi)
        assert frozen.pixels[0] > 50
        results.append(bound.linearize(chi, frozen, np.ones(1, np.bool_)).hessian)
    assert_agrees(results[0], results[1], TOLERANCE["float64"], "H")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("normals", ["smooth", "flat"])
@pytest.mark.parametrize("modes", [(150, 7), (61, 58)])
def test_more_unknowns_than_one_block_holds(dtype: DType, normals: Normals, modes: tuple[int, int]) -> None:
    """H in several shares of tiles, shape columns that do not fill their packs, an image with odd sides."""
    toy, rng = toy_model(), np.random.default_rng(6)
    identity = rng.normal(size=(toy.vertex_count, 3, modes[0])).astype(np.float32) / np.float32(10)
    albedo = rng.normal(size=(toy.vertex_count, 3, modes[1])).astype(np.float32) / np.float32(100)
    model, size = dataclasses.replace(toy, identity_basis=identity, albedo_basis=albedo), (53, 61)
    chi, every, found = toy_chi(2, model, size), np.ones(2, np.bool_), []
    settings = EngineSettings(dtype=dtype, normals=normals)
    for engine in (CudaEngine(CpuDevice(4), model, settings), build_engine("numpy:float64", model, settings)):
        bound = engine.differentiator(toy_problem(2, size))
        made = bound.linearize(chi, bound.freeze(chi), every)
        found.append((made.gradient, made.hessian, bound.residual_jacobian(chi, bound.freeze(chi), 1).jacobian))
    assert found[0][0].shape[1] > 152
    for name, got, want in zip(("g", "H", "J"), *found, strict=True):
        assert_agrees(got, want, TOLERANCE[dtype], name)


def test_model_too_wide_for_shared_memory() -> None:
    toy = flat_scene([(0.0, 0.0, 0.0)] * 3, [(0, 1, 2)])
    object.__setattr__(toy, "identity_basis", np.zeros((3, 3, 4000), np.float32))
    engine = CudaEngine(CpuDevice(), toy, EngineSettings(dtype="float64"))
    with pytest.raises(BackendError, match=r"4038 unknowns needs .* shared memory"):
        engine.differentiator(toy_problem(1))


@pytest.mark.parametrize(("device", "message"), [("", "no NVIDIA GPU|driver"), ("cpu", "device 'cpu' is unknown")])
def test_no_gpu_is_one_sentence(device: str, message: str) -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        count = 0
    if count and not device:
        pytest.skip("there is a GPU here")
    with pytest.raises(BackendError, match=message) as caught:
        build_engine(f"cupy:{device}" if device else "cupy", toy_model())
    assert "\n" not in str(caught.value)


def test_uv_is_copied_once_and_only_when_asked_for() -> None:
    device = CpuDevice()
    renderer = CudaEngine(device, toy_model(), EngineSettings()).renderer
    geometry = renderer.geometry(toy_chi(1))
    seen = renderer.rasterize(geometry, (20, 22))
    copies = []
    for quantities in (("normal", "albedo"), ("uv",), ("uv", "depth")):
        device.copied_to_device = 0
        renderer.interpolate(geometry, seen, quantities)  # type: ignore[arg-type]
        copies.append(device.copied_to_device)
    camera, model = 15 * 8, toy_model()
    assert copies == [camera, camera + 8 * model.uv.size + 4 * model.uv_triangles.size, camera]
