"""A toy stands for the default model, so that borrowing albedo and landmarks is quick and has a known answer."""

from __future__ import annotations

import pytest
from toy_head import model_of, toy

from faceinv.face.formats import _albedo, _raw


@pytest.fixture(autouse=True)
def toy_default(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(toy(seed=3))
    monkeypatch.setattr(_albedo, "default_model", lambda: model)
    monkeypatch.setattr(_raw, "default_model", lambda: model)
