"""A page for a shard: its pictures, and what is known of each, in one file that needs no network."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any, Final

from faceinv.dataset.archive import members
from faceinv.dataset.files import Places, written
from faceinv.output.report.templating import as_file, rendered, text_of
from faceinv.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["write_sheet"]

_SIDE: Final = 112
_QUALITY: Final = 80


def write_sheet(places: Places, number: int, photos: Sequence[tuple[int, str, str | None]]) -> None:
    """Write the page of a shard that is there.

    Args:
        places: the data set.
        number: of the shard.
        photos: (number, name, why it failed or None).

    Raises:
        OutputError: when it cannot be written.
    """
    groups: dict[int, list[dict[str, Any]]] = {photo: [] for photo, _, _ in photos}
    image = b""
    for name, data in members(places.shard(number)):
        stem, _, suffix = name.partition(".")
        if suffix in ("jpg", "png"):
            image = data
        elif suffix == "json":
            record = json.loads(data)
            groups[int(stem.split("_")[0])].append({**record, "key": stem, "picture": _thumbnail(image)})
    page = rendered(
        "shard.html.j2",
        title=places.shard(number).name,
        photos=[(name, reason, groups[photo]) for photo, name, reason in photos],
        pictures=sum(map(len, groups.values())),
        failed=sum(reason is not None for _, _, reason in photos),
        css=text_of("page.css") + text_of("shard.css"),
        version=__version__,
    )
    with written(places.sheet(number)) as stream:
        stream.write(as_file(page))


def _thumbnail(data: bytes) -> str:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        small = picture.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
