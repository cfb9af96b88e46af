"""The sheet of pictures of a model."""

from __future__ import annotations

import pytest
from pictures import assert_pictured
from small import few_modes

from faceinv.face.formats import load_model
from faceinv.output.model_sheet import render_sheet


def test_the_sheet_looks_as_it_did(pytestconfig: pytest.Config) -> None:
    assert_pictured(pytestconfig, "model_sheet", render_sheet(few_modes(), 96))


def test_captions_say_what_is_shown() -> None:
    assert render_sheet(few_modes(), 96).size == (4 * 96, 3 * (96 + 18))


def test_kinds_without_modes_are_left_out() -> None:
    model = load_model("default", identity=1, expression=0, albedo=0, face_only=True)
    assert render_sheet(model, 64).size == (4 * 64, 2 * (64 + 18))
