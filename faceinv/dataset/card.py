"""`dataset.json`: what a data set is, what it was made with, and who may do what with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from faceinv.dataset.files import Places, written
from faceinv.errors import InputError
from faceinv.version import library_versions

if TYPE_CHECKING:
    from faceinv.dataset.settings import DatasetSettings
    from faceinv.dataset.shards import Summary
    from faceinv.face.model import MorphableModel

__all__ = ["begun_card", "finish_card", "read_card", "write_card"]

_FORMAT: Final = 1
_TERMS: Final = {
    "photos": (
        "The pictures show the people of the photos that were given and are made of these photos: they may be used and "
        "passed on as far as the rights in the photos and the consent of these people go, and no further."
    ),
    "labels": (
        "Parameters, positions and maps of the face are made with the face model named here, whose licence holds for "
        "them: a model that is for research only makes a data set for research only."
    ),
    "program": "faceinv itself lays no claim to what is made with it.",
    "use": (
        "What is shown was drawn and did not happen. Do not publish the pictures as photos of these people, and use no "
        "data set of people to find out who they are."
    ),
}


def begun_card(places: Places, settings: DatasetSettings, model: MorphableModel, inputs: list[str]) -> dict[str, Any]:
    """The card of a run that begins, not written yet; where there is one, see that it is of the same settings.

    Args:
        places: the data set.
        settings: of the run.
        model: the face model.
        inputs: what was given, by name.

    Returns:
        what the card holds.

    Raises:
        InputError: when the folder has a data set of other settings.
    """
    made = {
        "inputs": inputs,
        **settings.record(),
        "model_fingerprint": model.fingerprint,
        "versions": _versions(settings.backend),
    }
    card = {
        "format": _FORMAT,
        "what": "Variants of photos of faces with all that is known of them, made by faceinv.",
        "complete": False,
        "settings": made,
        "face_model": {"name": model.name, "licence": model.licence, "fingerprint": model.fingerprint},
        "terms": _TERMS,
    }
    earlier = read_card(places)
    if earlier is None:
        if places.index.exists():
            raise InputError(
                f"'{places.folder}' holds a data set without its '{places.card.name}'. Choose another --output, or "
                "delete that folder."
            )
        return card
    known = _flat(earlier.get("settings"))
    wanted = _flat(made)
    different = [key for key in {**wanted, **known} if wanted.get(key) != known.get(key)]
    if different:
        changes = ", ".join(f"{key} was {known.get(key)!r}, is {wanted.get(key)!r}" for key in different[:4])
        raise InputError(
            f"'{places.folder}' holds a data set of other settings: {changes}. Choose another --output, or delete that "
            "folder."
        )
    return earlier


def finish_card(places: Places, card: dict[str, Any], summary: Summary) -> None:
    """Say that a data set is complete, and what is in it.

    Raises:
        OutputError: when it cannot be written.
    """
    counts = {name: getattr(summary, name) for name in ("pictures", "photos", "failed", "shards")}
    ranges = {name: {"least": low, "mean": mean, "most": high} for name, (low, mean, high) in summary.ranges.items()}
    sources = {name: dict(sorted(values.items())) for name, values in sorted(summary.sources.items())}
    write_card(places, {**card, "complete": True, "counts": counts, "ranges": ranges, "sources": sources})


def read_card(places: Places) -> dict[str, Any] | None:
    """The card of a folder; None where there is none.

    Raises:
        InputError: when it is damaged.
    """
    try:
        card = json.loads(places.card.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"'{places.card}' cannot be read ({error}). Choose another --output.") from None
    if not isinstance(card, dict) or "settings" not in card:
        raise InputError(f"'{places.card}' is no data set's of faceinv. Choose another --output.")
    return card


def write_card(places: Places, card: dict[str, Any]) -> None:
    """Write a card, whole or not at all.

    Raises:
        OutputError: when it cannot be written.
    """
    with written(places.card) as stream:
        stream.write((json.dumps(card, indent=1, allow_nan=False) + "\n").encode("utf-8"))


def _versions(backend: str) -> dict[str, str]:
    """Of all whose numbers decide on bytes."""
    from importlib import metadata

    return {**library_versions(backend), **{name: metadata.version(name) for name in ("pillow", "pyarrow")}}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    parts: dict[str, Any] = {}
    for key, one in value.items():
        parts |= _flat(one, f"{prefix}.{key}" if prefix else key)
    return parts
