"""Engines that cannot be had: one clear sentence with the remedy."""

from __future__ import annotations

import sys

import pytest
from fixture_types import Need
from problems import toy_model

from faceinv.engine.registry import build_engine
from faceinv.errors import BackendError


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("torch:cuda:99", "cannot use device 'cuda:99'.*usable here: cpu.*'torch:cpu' always works"),
        ("torch:nonsense", "cannot use device 'nonsense'"),
        ("torch:meta", "cannot use device 'meta'"),
        ("torch:cpu:float16", "dtype 'float16' is not one of float32, float64"),
        ("mxnet:gpu:7", "cannot use device 'gpu:7'; usable here: cpu"),
        ("mxnet:cuda", "cannot use device 'cuda'"),
        ("mxnet:cpu:", "malformed"),
        ("numpy:gpu", "runs on 'cpu' only"),
    ],
)
def test_devices_and_dtypes(backend: str, message: str, usable: Need) -> None:
    usable(backend.split(":")[0])
    with pytest.raises(BackendError, match=message):
        build_engine(backend, toy_model())


@pytest.mark.parametrize("name", ["torch", "mxnet"])
def test_broken_library(name: str, need: Need, monkeypatch: pytest.MonkeyPatch) -> None:
    """The distribution is there but its module cannot be imported."""
    need(name)
    for module in [m for m in sys.modules if m.startswith(f"faceinv.backends.{name}_autodiff")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match=rf"{name}.*cannot be (loaded|imported).*faceinv\[{name}\]"):
        build_engine(name, toy_model())


def test_torch_too_old(need: Need, monkeypatch: pytest.MonkeyPatch) -> None:
    need("torch")
    import torch

    monkeypatch.setattr(torch, "__version__", "1.13.1+cpu")
    with pytest.raises(BackendError, match=r"needs PyTorch 2\.4 or newer, found 1\.13\.1.*pip install -U"):
        build_engine("torch", toy_model())
