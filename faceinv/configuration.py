"""Configurations from TOML files and mappings, and what is said of those that make no sense."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from faceinv.errors import ConfigError

__all__ = ["read_toml", "refuse_unknown"]


def read_toml(path: str | Path) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        ConfigError: when it cannot be read.
    """
    try:
        return tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration '{path}': {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{path}' is not valid TOML: {error}.") from None


def refuse_unknown(keys: Iterable[str], known: Sequence[str]) -> None:
    """See that all keys are known.

    Raises:
        ConfigError: for the first that is not; it names a known one that is close.
    """
    for key in keys:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}."
            raise ConfigError(f"unknown configuration key '{key}'; {hint}")
