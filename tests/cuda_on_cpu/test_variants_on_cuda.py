"""Variants, drawn by the CUDA engine."""

from __future__ import annotations

from quick import quick_fit
from same_variants import assert_same_variant

from faceinv.generate import VariantConfig, Variants


def test_variants_are_those_of_the_reference_engine(compiler: None) -> None:
    plain = VariantConfig(samples=1)
    found, reference = (
        Variants([quick_fit()], count=2, size=32, seed=5, config=plain, backend=name)
        for name in ("cuda-on-cpu:3", "numpy")
    )
    for one, two in zip(found, reference, strict=True):
        assert_same_variant(one, two)
