"""Adam on the same energy, by PyTorch's own derivative of faceinv's differentiable renderer."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from faceinv.comparison.baselines import Start, common_start, first_below, run_gauss_newton
from faceinv.energy import HostTerms, prior_diagonal
from faceinv.fitting import Fitter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.comparison.measure import Task
    from faceinv.interface import EngineSettings
    from faceinv.parameters import ParameterLayout

__all__ = ["RATES", "TorchEnergy", "adam_baseline"]

RATES: Final = (1e-3, 1e-2, 1e-1)


class TorchEnergy:
    """E of one photo as a differentiable function of chi; visibility and landmark points are found anew at each."""

    def __init__(self, fitter: Fitter, start: Start) -> None:
        settings: EngineSettings = fitter.engine.renderer.settings
        self.dtype = torch.float32 if settings.dtype == "float32" else torch.float64
        self.device = torch.device(settings.device or "cpu")
        self._model, self._layout, self._problem = fitter.model, fitter.layout, start.problem
        self._normals = settings.normals
        self._terms = HostTerms(fitter.model)
        model, count = fitter.model, fitter.model.vertex_count
        self._mean, self._mean_albedo = self._tensor(model.mean), self._tensor(model.mean_albedo)
        shape = np.concatenate([model.identity, model.expression], axis=2)
        self._shape, self._albedo = (self._tensor(b.reshape(3 * count, -1)) for b in (shape, model.albedo))
        self._triangles = torch.as_tensor(model.triangles.astype(np.int64), device=self.device)
        self._face = torch.as_tensor(np.array(model.face_mask), device=self.device)
        self._target = self._tensor(start.problem.image[0].reshape(-1, 3))
        self._mask = torch.as_tensor(start.problem.mask[0].ravel(), device=self.device)
        self._marks = self._tensor(start.problem.landmarks[0])
        energy = start.problem.energy
        weight = energy.landmarks / 68 * start.problem.landmark_weights[0] / start.problem.eye_distance[0] ** 2
        self._mark_weights = self._tensor(weight)
        self._prior = self._tensor(prior_diagonal(fitter.layout, energy))

    def __call__(self, chi: Tensor) -> Tensor:
        """E at chi (P,)."""
        layout, energy = self._layout, self._problem.energy
        vertices = self._mean + (self._shape @ chi[layout.shape]).reshape(-1, 3)
        albedo = self._mean_albedo + (self._albedo @ chi[layout.albedo]).reshape(-1, 3)
        scale, turn, shift = chi[layout.log_scale].exp(), chi[layout.rotation], chi[layout.translation]
        render: Any = importlib.import_module("faceinv.backends.torch_autodiff").render
        light = chi[layout.lighting].reshape(3, 9).T
        size = self._problem.size
        drawn = render(vertices, albedo, light, scale, turn, shift, self._triangles, size, self._normals)
        shown = drawn.triangle.reshape(-1).long()
        chosen = torch.nonzero((shown >= 0) & self._mask & self._face[shown.clamp(min=0)]).reshape(-1)
        away = (drawn.image.reshape(-1, 3)[chosen] - self._target[chosen]).abs()
        delta = min(energy.huber_delta, 1e9)
        robust = torch.where(away <= delta, away.square(), delta * (2 * away - delta))
        points = self._terms.points(chi.detach().cpu().double().numpy(), self._problem.landmarks[0])
        corners = vertices[torch.as_tensor(points.vertices[0].astype(np.int64), device=self.device)]
        spots = (corners * self._tensor(points.weights[0])[..., None]).sum(dim=1)
        x, y, z = turn
        zero = torch.zeros_like(x)
        matrix = torch.linalg.matrix_exp(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3))
        turned = scale * (spots @ matrix.T)
        gaps = torch.stack([turned[:, 0] + shift[0], shift[1] - turned[:, 1]], dim=1) - self._marks
        total: Tensor = (
            energy.photometric * robust.sum() / max(len(chosen), 1)
            + (self._mark_weights * gaps.square().sum(dim=1)).sum()
            + (self._prior * chi.square()).sum()
        )
        return total

    def tensor(self, values: NDArray[np.float64]) -> Tensor:
        """Numbers in the energy's precision, on its device."""
        return self._tensor(values)

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
    """(P,) what a step of 1 means: a standard deviation; 10 % of scale, 0.1 rad, 5 % of the image; 0.3 of light."""
    unit = np.ones(layout.count)
    unit[layout.log_scale] = unit[layout.rotation] = 0.1
    unit[layout.translation] = 0.05 * problem_size
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
    cost = float(differentiator.cost(chi, differentiator.freeze(chi), np.ones(1, np.bool_)).total[0])
    newton, _ = run_gauss_newton(fitter, start)
    theirs, ours = first_below(best.trace, best.best), first_below(newton, cost)
    return {
        "engine": fitter.backend,
        "note": "gradient alone, by PyTorch's autograd through faceinv.backends.torch_autodiff.render: Adam does not "
        "pay for H; time spent on tuning its rate is not counted",
        "rate": best.rate,
        "best_cost_by_rate": tuned,
        "tuning_steps": tuning_steps,
        "steps": len(best.trace),
        "step_ms": best.trace[-1][0] / len(best.trace) * 1e3,
        "start_cost": best.trace[0][1],
        "best_cost": cost,
        "seconds_to_best_cost": theirs,
        "gauss_newton_seconds_to_best_cost": ours,
        "gauss_newton_final_cost": newton[-1][1],
        "gauss_newton_total_s": newton[-1][0],
        "ratio": theirs / ours if theirs and ours else None,
        "trace": best.trace[:: max(1, len(best.trace) // 300)],
        "gauss_newton_trace": newton,
    }
