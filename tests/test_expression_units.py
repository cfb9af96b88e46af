"""Named expression units: values of fitted coefficients, and expressions made of them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quick import sample
from small import few_modes

import faceinv
from faceinv import FitConfig
from faceinv.errors import InputError, ModelError
from faceinv.face.camera import Camera
from faceinv.face.expression_units import ExpressionUnits
from faceinv.face.formats.npz import load_npz_model, save_npz_model
from faceinv.face.lighting import ambient
from faceinv.face.model import MorphableModel
from faceinv.face.state import Face

PAIR = ExpressionUnits(("blinkLeft", "blinkRight", "open"), np.array([[0.25, 0.06, 0], [0.25, -0.06, 0], [0, 0, 0.3]]))


def named() -> MorphableModel:
    """`few_modes` with three units over its five expression modes."""
    return replace(few_modes(), expression_units=ExpressionUnits(PAIR.names, np.pad(PAIR.matrix, ((0, 0), (0, 2)))))


def nameless() -> MorphableModel:
    """`few_modes` without units."""
    return replace(few_modes(), expression_units=None)


def rested() -> Face:
    return Face.mean(few_modes(), Camera(1.0, np.eye(3), np.zeros(2)), ambient(1))


def test_values_are_those_of_the_modes() -> None:
    found = PAIR.values(np.array([2.0, -1.0, 1.0]))
    assert found == pytest.approx({"blinkLeft": 0.44, "blinkRight": 0.56, "open": 0.3})


def test_values_are_not_clipped() -> None:
    assert PAIR.values(np.array([8.0, 0.0, -1.0])) == pytest.approx({"blinkLeft": 2, "blinkRight": 2, "open": -0.3})


def test_an_expression_of_units_has_them() -> None:
    wanted = {"blinkLeft": 1.0, "open": 0.25}
    assert PAIR.values(PAIR.coefficients(wanted)) == pytest.approx({**wanted, "blinkRight": 0.0}, abs=1e-12)


def test_with_fewer_modes_the_nearest_expression_is_made() -> None:
    fewer = PAIR.columns(slice(1))
    assert fewer.names == ("blinkLeft", "blinkRight"), "nothing moves the third any more"
    assert fewer.values(fewer.coefficients({"blinkLeft": 1.0})) == pytest.approx({"blinkLeft": 0.5, "blinkRight": 0.5})
    model = named().truncated(expression=2)
    assert model.expression_units is not None
    assert model.expression_units.matrix.shape == (2, 2)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"blinkLef": 1.0}, "no expression unit 'blinkLef'; did you mean 'blinkLeft'"),
        ({"q": 1.0}, "no expression unit 'q'; known are blinkLeft, blinkRight, open"),
        ({"open": np.nan}, "NaN or infinite"),
        ({"open": "wide"}, "'open' is 'wide'; expected a number"),
    ],
)
def test_bad_units_are_refused(units: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PAIR.coefficients(units)


@pytest.mark.parametrize(
    ("names", "matrix", "message"),
    [
        (("a", "b"), np.zeros((3, 2)), "2 expression units have a matrix of float64 of shape"),
        (("a",), np.zeros(2), "expected a row for each"),
        (("a",), np.array([["x"]]), "expected a row for each"),
        (("a", "a"), np.zeros((2, 2)), "'a' is named twice"),
        (("a",), np.array([[np.inf]]), "NaN or infinite"),
    ],
)
def test_inconsistent_units_are_refused(names: tuple[str, ...], matrix: np.ndarray, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ExpressionUnits(names, matrix)


def test_a_models_units_are_of_its_modes() -> None:
    with pytest.raises(ModelError, match="expression units of 3 modes for 5 modes"):
        replace(few_modes(), expression_units=PAIR)


def test_faces_are_made_of_units_and_tell_them() -> None:
    face = rested().with_units(named(), open=0.5)
    assert face.expression_units(named()) == pytest.approx({"blinkLeft": 0, "blinkRight": 0, "open": 0.5})
    assert rested().expression_units(nameless()) == {}
    with pytest.raises(InputError, match="has no named expression units"):
        rested().with_units(nameless(), open=0.5)


def test_model_files_keep_units(tmp_path: Path) -> None:
    save_npz_model(named(), tmp_path / "a.npz")
    again = load_npz_model(tmp_path / "a.npz").expression_units
    assert again is not None
    assert again.names == PAIR.names
    assert np.array_equal(again.matrix[:, :3], PAIR.matrix)
    with np.load(tmp_path / "a.npz") as stored:
        fields = {key: stored[key] for key in stored.files if key != "expression_unit_names"}
    np.savez(tmp_path / "b.npz", **fields)
    with pytest.raises(ModelError, match=r"b\.npz' lacks expression_unit_names"):
        load_npz_model(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", **fields, expression_unit_names=np.array(["one"]))
    with pytest.raises(ModelError, match=r"c\.npz': 1 expression units"):
        load_npz_model(tmp_path / "c.npz")


def test_results_tell_units_and_keep_them_in_files(tmp_path: Path) -> None:
    from faceinv.run.outputs import record_of

    config = FitConfig(size=48, levels=1, iterations=2)
    result = faceinv.fit(sample(), model=named(), config=config)
    units = result.expression_units
    assert list(units) == list(PAIR.names)
    assert units["open"] == pytest.approx(0.3 * result.expression[2])
    result.save(tmp_path / "face.npz")
    with np.load(tmp_path / "face.npz") as stored:
        assert stored["expression_unit_names"].tolist() == list(units)
        assert stored["expression_units"].tolist() == list(units.values())
    assert json.loads(json.dumps(record_of(result)))["expression_units"] == pytest.approx(units)
    plain = dataclasses.replace(result, model=nameless())
    assert plain.expression_units == {}
