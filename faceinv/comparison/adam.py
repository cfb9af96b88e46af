"""Adam on the same energy, by PyTorch's own derivative of what faceinv's differentiable renderer draws."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from faceinv.comparison.baselines import EQUAL, Start, common_start, first_below, run_gauss_newton
from faceinv.engine.host_terms import priors
from faceinv.engine.records import MIN_DOUBLE_AREA
from faceinv.fitting.fitter import Fitter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.comparison.measure import Task
    from faceinv.engine.records import EngineSettings
    from faceinv.face.layout import ParameterLayout

__all__ = ["RATES", "TorchEnergy", "adam_baseline"]

RATES: Final = (1e-3, 1e-2, 1e-1)


class TorchEnergy:
    """E of one photo as a differentiable function of chi, with visibility and landmark points held as at the start.

    Found anew at every chi, they make E jump with the set of pixels it is a mean over: then no method's costs settle,
    and its best cost tells of the jumps. Held, E is one function for all methods, and nobody pays for finding them.
    """

    def __init__(self, fitter: Fitter, start: Start) -> None:
        settings: EngineSettings = fitter.engine.renderer.settings
        self.dtype = torch.float32 if settings.dtype == "float32" else torch.float64
        self.device = torch.device(settings.device or "cpu")
        self._draw: Any = importlib.import_module("faceinv.backends.torch_autodiff.render")
        self._camera: Any = importlib.import_module("faceinv.backends.torch_autodiff.camera")
        self._layout, self._energy, self._flat = fitter.layout, start.problem.energy, settings.normals == "flat"
        model, problem = fitter.engine.renderer.model, start.problem
        self._mean, self._mean_albedo = self._tensor(model.mean), self._tensor(model.mean_albedo)
        shape = np.concatenate([model.identity_basis, model.expression_basis], axis=2).reshape(
            3 * model.vertex_count, -1
        )
        self._shape = self._tensor(shape)
        self._albedo = self._tensor(model.albedo_basis.reshape(3 * model.vertex_count, -1))
        self._occlusion = None if model.occlusion is None else self._tensor(model.occlusion)
        self._triangles = self._index(model.triangles)
        frozen, host = fitter.engine.differentiator(problem).freeze(start.chi), fitter.engine.renderer.to_host
        assert frozen.visibility is not None  # the problem has a photometric term
        triangle = host(frozen.visibility.triangle)[0]
        x, y = host(fitter.engine.renderer.geometry(start.chi).image_xy)[0].T
        (x0, x1, x2), (y0, y1, y2) = x[model.triangles].T, y[model.triangles].T
        double_area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        good = model.face_mask & (double_area < -MIN_DOUBLE_AREA)
        rows, columns = np.nonzero((triangle >= 0) & good[triangle] & problem.mask[0])
        self._seen = self._triangles[self._index(triangle[rows, columns])]
        self._x, self._y = self._tensor(columns), self._tensor(rows)
        self._target = self._tensor(problem.image[0, rows, columns])
        self._weight = self._tensor(problem.weights[0, rows, columns])[:, None]
        self._mark_corners = self._index(frozen.points.vertices[0])
        self._mark_shares = self._tensor(frozen.points.weights[0])[..., None]
        self._marks = self._tensor(problem.landmarks[0])
        self._mark_metric = self._tensor(frozen.points.metric[0])
        offsets = np.broadcast_to(problem.landmark_offsets, (1, 68, 3))[0]
        self._mark_offsets = self._tensor(offsets)
        self._prior, self._mean_chi = (self._tensor(part[0]) for part in priors(fitter.layout, problem))

    def __call__(self, chi: Tensor) -> Tensor:
        """E at chi (P,)."""
        layout, draw = self._layout, self._draw
        vertices = self._mean + (self._shape @ chi[layout.shape]).reshape(-1, 3)
        albedo = self._mean_albedo + (self._albedo @ chi[layout.albedo]).reshape(-1, 3)
        camera = self._camera.Camera.unpack(chi[layout.pose])
        xy, depth = camera.project(vertices)
        nearer = 1 + camera.inverse_focal * depth[self._seen]
        weights = self._camera.barycentric_weights(xy[self._seen], nearer, self._x, self._y)[..., None]
        if self._flat:
            normal = draw._face_normals(vertices, self._seen)
        else:
            faces = draw._face_normals(vertices, self._triangles).repeat_interleave(3, dim=0)
            summed = torch.zeros_like(vertices).index_add(0, self._triangles.reshape(-1), faces)
            normal = (weights * draw._unit(summed)[self._seen]).sum(dim=1)
        basis = draw._sh(draw._unit(camera.turned(normal)))
        if self._occlusion is not None:
            basis = basis - draw._shadow((weights * self._occlusion[self._seen]).sum(dim=1), camera)
        shade = basis @ chi[layout.lighting].reshape(3, 9).T
        away = ((weights * albedo[self._seen]).sum(dim=1) * shade - self._target).abs()
        delta = min(self._energy.huber_delta, 1e9)
        robust = torch.where(away <= delta, away.square(), delta * (2 * away - delta))
        points = (vertices[self._mark_corners] * self._mark_shares).sum(dim=1) + self._mark_offsets
        gaps = camera.project(points)[0] - self._marks
        total: Tensor = (
            self._energy.photometric * (self._weight * robust).sum() / max(len(self._seen), 1)
            + torch.matmul(self._mark_metric, gaps[..., None]).square().sum()
            + (self._prior * (chi - self._mean_chi).square()).sum()
        )
        return total

    def tensor(self, values: NDArray[np.float64]) -> Tensor:
        """Numbers in the energy's precision, on its device."""
        return self._tensor(values)

    def _index(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(values.astype(np.int64), device=self.device)

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(np.array(values), dtype=self.dtype, device=self.device)


class _Run:
    """Adam at one rate, which can be continued."""

    def __init__(self, energy: TorchEnergy, start: Start, unit: NDArray[np.float64], rate: float) -> None:
        self._energy, self._start, self._unit = energy, energy.tensor(start.chi[0]), energy.tensor(unit)
        self._moved = torch.zeros_like(self._start, requires_grad=True)
        self._optimiser = torch.optim.Adam([self._moved], lr=rate)
        self.rate = rate
        self.trace: list[tuple[float, float]] = []
        self.best = float("inf")
        self.chi = start.chi[0].copy()

    def run(self, steps: int) -> None:
        elapsed = self.trace[-1][0] if self.trace else 0.0
        began = time.perf_counter()
        for _ in range(steps):
            self._optimiser.zero_grad()
            chi = self._start + self._unit * self._moved
            cost = self._energy(chi)
            value = float(cost.detach())
            self.trace.append((elapsed + time.perf_counter() - began, value))
            if not np.isfinite(value):
                return
            if value < self.best:
                self.best, self.chi = value, chi.detach().cpu().double().numpy()
            cost.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()


def adam_units(layout: ParameterLayout, problem_size: int) -> NDArray[np.float64]:
    """(P,) what a step of 1 means: a standard deviation; 10 % of scale, 0.1 rad, 5 % of the image; 0.3 of light;
    0 of what is known of the camera."""
    unit = np.ones(layout.count)
    unit[layout.pose] = [0.1] * 4 + [0.05 * problem_size] * 2 + [0.0] * 3
    unit[layout.lighting] = 0.3
    return unit


def adam_baseline(task: Task, steps: int = 1500, tuning_steps: int = 300) -> dict[str, Any]:
    """Three rates for some steps each, the best continued to all steps; Gauss-Newton on the same engine and start."""
    fitter = Fitter(task.model, task.backend, task.config)
    start = common_start(fitter, task.cases[0])
    energy = TorchEnergy(fitter, start)
    unit = adam_units(fitter.layout, start.problem.size[1])
    _Run(energy, start, unit, RATES[0]).run(3)  # warm-up
    tuning_steps = min(tuning_steps, steps)
    runs = [_Run(energy, start, unit, rate) for rate in RATES]
    for run in runs:
        run.run(tuning_steps)
    tuned = {f"{run.rate:g}": run.best for run in runs}
    best = min(runs, key=lambda run: run.best)
    best.run(steps - tuning_steps)
    # Costs at which the two are compared are the engine's own, both in float64.
    differentiator = fitter.engine.differentiator(start.problem)
    chi = best.chi[None]
    cost = float(differentiator.cost(chi, differentiator.freeze(start.chi), np.ones(1, np.bool_)).total[0])
    newton, _ = run_gauss_newton(fitter, start, held=True)
    theirs, ours = first_below(best.trace, best.best), first_below(newton, cost)
    goal = cost * (1 + EQUAL)
    theirs_nearly, ours_nearly = first_below(best.trace, goal), first_below(newton, goal)
    return {
        "engine": fitter.backend,
        "note": "gradient alone, by PyTorch's autograd: Adam does not pay for H, nor for tuning its rate; visibility "
        "and landmark points held as at the start for both",
        "rate": best.rate,
        "best_cost_by_rate": tuned,
        "tuning_steps": tuning_steps,
        "steps": len(best.trace),
        "step_ms": best.trace[-1][0] / len(best.trace) * 1e3,
        "start_cost": best.trace[0][1],
        "best_cost": cost,
        "seconds_to_best_cost": theirs,
        "gauss_newton_seconds_to_best_cost": ours,
        "gauss_newton_best_cost": min(found for _, found in newton),
        "gauss_newton_final_cost": newton[-1][1],
        "gauss_newton_total_s": newton[-1][0],
        "ratio": theirs / ours if theirs and ours else None,
        "equal_cost": goal,
        "seconds_to_equal_cost": theirs_nearly,
        "gauss_newton_seconds_to_equal_cost": ours_nearly,
        "equal_ratio": theirs_nearly / ours_nearly if theirs_nearly and ours_nearly else None,
        "trace": best.trace[:: max(1, len(best.trace) // 300)],
        "gauss_newton_trace": newton,
    }
