"""The CUDA engine on the CPU passes what every engine passes: the test bodies are those of tests/engines."""

from __future__ import annotations

import importlib
from pathlib import Path

_ENGINES = Path(__file__).parents[1] / "engines"

for _path in sorted(_ENGINES.glob("test_*.py")):
    _source = _path.read_text()
    if "engine_name" in _source or "found: Run" in _source:
        _module = importlib.import_module(_path.stem)
        for _name, _body in vars(_module).items():
            if _name.startswith("test_") and callable(_body):
                assert _name not in globals(), f"two test bodies are called {_name}"
                globals()[_name] = _body
