"""faceinv's renderer as a differentiable function of PyTorch tensors, for losses and optimisers of one's own.

    python examples/differentiable_rendering.py

Adam finds shape coefficients and lighting from a picture. Needs PyTorch: pip install "faceinv[torch]".
"""

from __future__ import annotations

import torch

from faceinv import load_model
from faceinv.backends.torch_autodiff import render


def main(steps: int = 80) -> list[float]:
    """The losses, step by step."""
    model = load_model("default", identity=4, expression=0, albedo=0)
    mean, basis, albedo = (torch.tensor(a) for a in (model.mean, model.identity_basis, model.mean_albedo))
    triangles, size = torch.tensor(model.triangles), (64, 64)
    pose = torch.tensor(0.28), torch.tensor([0.0, 0.3, 0.0]), torch.tensor([32.0, 32.0])

    def picture(coefficients: torch.Tensor, lighting: torch.Tensor) -> torch.Tensor:
        return render(mean + basis @ coefficients, albedo, lighting, *pose, triangles, size).image

    ambient = torch.zeros(9, 3)
    ambient[0] = 3.0
    truth = torch.tensor([1.0, -1.0, 0.5, 0.0])
    photo = picture(truth, 1.2 * ambient)

    coefficients, lighting = torch.zeros(4, requires_grad=True), ambient.clone().requires_grad_()
    optimiser = torch.optim.Adam([coefficients, lighting], lr=0.1)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = (picture(coefficients, lighting) - photo).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    print(f"mean squared difference from {losses[0]:.6f} to {losses[-1]:.6f}")
    print(f"coefficients {coefficients.tolist()}, true ones {truth.tolist()}")
    return losses


if __name__ == "__main__":
    main()
