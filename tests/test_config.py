"""Settings from code and TOML, and what is refused. Standard deviations are not pinned: they may be tuned."""

from __future__ import annotations

import dataclasses
import math
import pydoc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faceinv import ConfigError, FitConfig, FitResult

FIELDS = {field.name: field for field in dataclasses.fields(FitConfig)}


def test_defaults_and_paper_are_valid_and_differ() -> None:
    paper = FitConfig.paper()
    assert paper != FitConfig()
    assert paper.normals == "flat"
    assert math.isinf(paper.huber_delta)


@pytest.mark.parametrize("pixel_units", [False, True])
def test_the_papers_energy_is_its_weights_over_that_of_the_priors(pixel_units: bool) -> None:
    paper, w_land, w_reg = FitConfig.paper(pixel_units), 10.0, 5e-5
    assert paper.identity_sigma == paper.expression_sigma == paper.albedo_sigma == 1
    assert 1 / paper.landmark_sigma**2 == pytest.approx(w_land / 68 / w_reg)
    assert paper.detected_landmark_sigma == paper.landmark_sigma
    assert paper.jaw_factor == paper.brow_factor == 1
    assert paper.photometric_samples / paper.photometric_sigma**2 == pytest.approx(1 / w_reg)
    assert math.isinf(paper.lighting_sigma)
    assert paper.units == ("pixels" if pixel_units else "image")


OLD = {
    "photometric_weight": "photometric_sigma",
    "landmark_weight": "landmark_sigma",
    "identity_weight": "identity_sigma",
    "expression_weight": "expression_sigma",
    "albedo_weight": "albedo_sigma",
    "lighting_weight": "lighting_sigma",
    "jaw_weight": "jaw_factor",
    "brow_weight": "brow_factor",
    "pixel_units": "units",
}


@pytest.mark.parametrize(("old", "new"), OLD.items())
def test_settings_of_old_say_what_replaces_them(tmp_path: Path, old: str, new: str) -> None:
    """In Python, in mappings and in files; with the formula for their values."""
    (tmp_path / "fit.toml").write_text(f"{old} = 1\n")
    ways: list[Callable[[], FitConfig]] = [
        lambda: FitConfig(**{old: 1}),  # type: ignore[arg-type]
        lambda: FitConfig.of({old: 1}),
        lambda: FitConfig.from_toml(tmp_path / "fit.toml"),
    ]
    for way in ways:
        with pytest.raises(
            ConfigError, match=f"'{old}' was a setting of faceinv 0.1; use '{new}'. To convert: "
        ) as caught:
            way()
        assert new in str(caught.value).split("To convert: ")[1] or old == "identity_weight"
    assert new in FIELDS
    assert old not in FIELDS


def test_other_unknown_settings_are_a_mistake_in_the_code() -> None:
    with pytest.raises(TypeError, match="qqqq"):
        FitConfig(qqqq=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("record", [FitConfig, FitResult])
def test_help_says_what_every_field_is(record: type) -> None:
    shown = pydoc.plain(pydoc.render_doc(record))
    for field in dataclasses.fields(record):
        entry = re.search(rf"\n[ |]*{field.name}: (.+)", shown)
        assert entry is not None, field.name
        assert len(entry[1]) > 10, field.name


def test_toml_sets_some_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "fit.toml"
    path.write_text('size = 96\nlandmark_sigma = 3\nnormals = "flat"\nunits = "pixels"\n')
    wanted = dataclasses.replace(FitConfig(), size=96, landmark_sigma=3.0, normals="flat", units="pixels")
    assert FitConfig.from_toml(path) == wanted
    assert FitConfig.from_toml(str(path)) == wanted


def test_infinite_huber_in_toml(tmp_path: Path) -> None:
    path = tmp_path / "fit.toml"
    path.write_text("huber_delta = inf\n")
    assert math.isinf(FitConfig.from_toml(path).huber_delta)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size = \n", "is not valid TOML"),
        ("sise = 96\n", "unknown configuration key 'sise'; did you mean 'size'"),
        ("qqqq = 1\n", "unknown configuration key 'qqqq'; known are landmark_sigma"),
        ("[fit]\nsize = 96\n", "unknown configuration key 'fit'"),
        ('size = "96"\n', "'size' is '96'; expected int"),
        ("size = 4\n", "'size' is 4; expected a value from 32 to"),
    ],
)
def test_toml_errors_name_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "fit.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"fit\.toml") as caught:
        FitConfig.from_toml(path)
    assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration '.*none\.toml': No such file"):
        FitConfig.from_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        FitConfig.from_toml(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        FitConfig.from_toml(tmp_path / "bytes.toml")


NUMBERS = [name for name, field in FIELDS.items() if isinstance(field.default, float)]
WHOLE = [name for name, field in FIELDS.items() if type(field.default) is int]


@pytest.mark.parametrize("name", NUMBERS + WHOLE)
@pytest.mark.parametrize("value", [-1, math.nan, "1", None, True, [1]])
def test_numbers_out_of_range_or_of_another_type(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is "):
        FitConfig(**{name: value})


@pytest.mark.parametrize("name", WHOLE)
def test_counts_are_whole(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is 50.0; expected int"):
        FitConfig(**{name: 50.0})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("normals", "round", "expected one of smooth, flat"),
        ("normals", 3, "expected one of smooth, flat"),
        ("assembly", ["rows"], "expected one of auto, rows, vertices"),
        ("units", 1, "expected one of eyes, image, pixels"),
        ("levels", 0, "from 1 to"),
        ("iterations", 0, "from 1 to"),
        ("margin", 0.9, "from 1.0 to"),
        ("size", 10**6, "from 32 to"),
    ],
)
def test_choices_and_ranges_are_told(name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FitConfig(**{name: value})


def test_whole_numbers_serve_as_standard_deviations() -> None:
    assert FitConfig(landmark_sigma=2).landmark_sigma == 2


@pytest.mark.parametrize(
    "name", [name for name in FIELDS if name.endswith(("sigma", "factor")) and "prior" not in name]
)
def test_an_infinite_standard_deviation_switches_off_and_zero_is_none(name: str) -> None:
    assert math.isinf(getattr(FitConfig.from_dict({name: math.inf}), name))
    with pytest.raises(ConfigError, match=f"'{name}' is 0.0; expected a value from"):
        FitConfig.from_dict({name: 0.0})


def test_settings_cannot_be_changed_and_serve_as_keys() -> None:
    config = FitConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.size = 96  # type: ignore[misc]
    assert hash(config) == hash(FitConfig())


def test_a_byte_order_mark_before_toml(tmp_path: Path) -> None:
    """As some editors on Windows write."""
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbfsize = 96\r\n")
    assert FitConfig.from_toml(tmp_path / "c.toml") == FitConfig(size=96)


@pytest.mark.parametrize("value", ["auto", 0, 0.5, 1.0])
def test_the_albedo_field_is_a_number_or_automatic(value: Any) -> None:
    assert FitConfig(albedo_field=value).albedo_field == value


@pytest.mark.parametrize("value", ["always", True, -0.1, None])
def test_other_albedo_fields_are_errors(value: Any) -> None:
    with pytest.raises(ConfigError, match="'albedo_field' is"):
        FitConfig(albedo_field=value)


def test_the_former_name_of_the_occluders_says_the_new_one() -> None:
    with pytest.raises(ConfigError, match=r"'occlusion_threshold' was a setting of faceinv 0\.1; use 'occluder_share'"):
        FitConfig.from_dict({"occlusion_threshold": 2.5})
