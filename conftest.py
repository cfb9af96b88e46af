"""Lets the tests run from a checkout, with the package installed or not.

The folder `backends` imports as `faceinv.backends`. Where the checkout's own `faceinv` shadows an installed one (as
with `python -m pytest`), that name would be missing: it is bound here. Child processes are kept from the checkout.
"""

import importlib.util
import os
import sys
from pathlib import Path

os.environ.setdefault("PYTHONSAFEPATH", "1")

if importlib.util.find_spec("faceinv.backends") is None:
    import faceinv

    folder = Path(__file__).parent / "backends"
    spec = importlib.util.spec_from_file_location(
        "faceinv.backends", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["faceinv.backends"] = module
    spec.loader.exec_module(module)
    faceinv.backends = module  # type: ignore[attr-defined]
