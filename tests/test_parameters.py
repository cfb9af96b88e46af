"""The layout of chi and the way a step moves it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import few_modes

from faceinv.face.camera import rotation_matrix
from faceinv.face.layout import ParameterLayout

quick = settings(max_examples=30, deadline=None, derandomize=True)
counts = st.integers(0, 7)


@given(identity=counts, expression=counts, albedo=counts)
@quick
def test_parts_follow_each_other_and_fill_chi(identity: int, expression: int, albedo: int) -> None:
    layout = ParameterLayout(identity, expression, albedo)
    order = (layout.identity, layout.expression, layout.albedo, layout.pose, layout.lighting)
    every = np.arange(layout.count)
    assert np.array_equal(np.concatenate([every[part] for part in order]), every)
    assert [len(every[part]) for part in order] == [identity, expression, albedo, 9, 27]
    assert np.array_equal(every[layout.rotation], every[layout.pose][1:4])
    assert np.array_equal(every[layout.shape], [*every[layout.identity], *every[layout.expression]])
    assert layout.mask(layout.albedo, layout.pose).sum() == albedo + 9


def test_paper_has_312_unknowns() -> None:
    """And so have we, but for what is known of the camera: principal point and focal length."""
    layout = ParameterLayout(100, 79, 100)
    known = layout.mask(layout.principal_point, slice(layout.inverse_focal, layout.inverse_focal + 1))
    assert (~known).sum() == 312


def test_of_a_model() -> None:
    assert ParameterLayout.of(few_modes()) == ParameterLayout(6, 5, 3)


def test_lighting_goes_channel_by_channel() -> None:
    layout = ParameterLayout(2, 1, 1)
    chi = np.arange(2.0 * layout.count).reshape(2, -1)
    gamma = layout.gamma(chi)
    assert gamma.shape == (2, 9, 3)
    for channel in range(3):
        first = layout.lighting.start + 9 * channel
        assert np.array_equal(gamma[:, :, channel], chi[:, first : first + 9])
    assert np.array_equal(layout.gamma(chi[1]), gamma[1])


def some(seed: int, spread: float = 1.0) -> tuple[ParameterLayout, np.ndarray, np.ndarray]:
    layout, rng = ParameterLayout(3, 2, 2), np.random.default_rng(seed)
    return layout, rng.normal(0, 1, (3, layout.count)), rng.normal(0, spread, (3, layout.count))


@given(seed=st.integers(0, 10**6), spread=st.sampled_from([1e-9, 1e-3, 1.0, 4.0]))
@quick
def test_rotations_compose_and_the_rest_adds(seed: int, spread: float) -> None:
    layout, chi, step = some(seed, spread)
    moved = layout.retract(chi, step)
    rest = ~layout.mask(layout.rotation)
    assert np.array_equal(moved[:, rest], (chi + step)[:, rest])
    for item in range(3):
        turn = rotation_matrix(moved[item, layout.rotation])
        wanted = rotation_matrix(step[item, layout.rotation]) @ rotation_matrix(chi[item, layout.rotation])
        assert turn == pytest.approx(wanted, abs=1e-12)
        assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-12)
        assert np.linalg.norm(moved[item, layout.rotation]) <= np.pi + 1e-9


def test_a_zero_step_changes_no_bit() -> None:
    layout, chi, _ = some(1)
    chi[:, layout.rotation] *= 5  # beyond pi, where composing would choose another vector for the same rotation
    assert np.array_equal(layout.retract(chi, np.zeros_like(chi)), chi)


def test_items_do_not_mix_and_arguments_are_left_alone() -> None:
    layout, chi, step = some(2)
    before = chi.copy(), step.copy()
    together = layout.retract(chi, step)
    assert np.array_equal(chi, before[0])
    assert np.array_equal(step, before[1])
    for item in range(3):
        assert np.array_equal(layout.retract(chi[item : item + 1], step[item : item + 1])[0], together[item])


@given(seed=st.integers(0, 10**6))
@quick
def test_derivative_of_the_turn_at_zero_is_the_cross_product(seed: int) -> None:
    layout, chi, step = some(seed)
    h = 1e-6
    turned = [
        rotation_matrix(layout.retract(chi, sign * h * step)[0, layout.rotation]) @ [10.0, -20.0, 5.0]
        for sign in (1, -1)
    ]
    start = rotation_matrix(chi[0, layout.rotation]) @ [10.0, -20.0, 5.0]
    assert (turned[0] - turned[1]) / (2 * h) == pytest.approx(np.cross(step[0, layout.rotation], start), abs=1e-6)


@given(step=st.floats(-600, 600))
@quick
def test_scale_stays_positive(step: float) -> None:
    layout, chi, move = some(3)
    move[:, layout.pose.start] = step
    assert (np.asarray(layout.cameras(layout.retract(chi, move)).scale) > 0).all()


def test_the_scale_has_the_same_bits_every_time() -> None:
    layout = ParameterLayout(1, 1, 1)
    chi = np.zeros((1, layout.count))
    chi[0, layout.pose.start] = -1.2345
    kept = []  # so that memory is laid out differently every time
    for size in range(400):
        kept.append((np.empty(size % 13), np.asarray(layout.cameras(chi).scale), chi.copy()))
    assert {float(scale[0]) for _, scale, _ in kept} == {math.exp(-1.2345)}
