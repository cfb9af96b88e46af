"""three.js as trimesh brings it, for pages that must not load anything from a network.

trimesh ships the library inside of its notebook viewer. three.js is under the MIT licence, whose notice pages that hold
it have to show: `NOTICE`.
"""

from __future__ import annotations

import io
import re
import zipfile
from functools import cache
from importlib import resources
from typing import Final

from faceinv.errors import FaceinvError

__all__ = ["NOTICE", "three_js"]

NOTICE: Final = """three.js: Copyright 2010-2022 three.js authors. The MIT License.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated \
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the \
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit \
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the \
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE \
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR \
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR \
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""

_ARCHIVE: Final = "resources/templates/viewer.zip"
_LIBRARY: Final = re.compile(
    r'<script>(.*?THREE.*?Object\.defineProperty\(\w+,"__esModule",\{value:!0\}\)\}\)+;)', re.DOTALL
)
"""The viewer's script begins with the library, which ends where it has named itself a module; controls, loaders and
the viewer's own code follow."""


@cache
def three_js() -> str:
    """The script that defines the global `THREE`.

    Raises:
        FaceinvError: where the trimesh that is installed does not hold it.
    """
    try:
        content = (resources.files("trimesh") / _ARCHIVE).read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = _LIBRARY.search(archive.read("viewer.html.template").decode("utf-8"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, ModuleNotFoundError):
        found = None
    if found is None:
        raise FaceinvError(
            "the 3D view of a report is drawn by three.js from trimesh's viewer, which the trimesh that is installed "
            "does not hold as expected. Install trimesh 5.2."
        )
    return found[1]
