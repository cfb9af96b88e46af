"""The errors a caller can meet. Each message says what was given, what is expected and what to do."""

from __future__ import annotations

__all__ = [
    "BackendError",
    "ConfigError",
    "DeviceLostError",
    "FaceinvError",
    "InputError",
    "ModelError",
    "NoFaceError",
    "first_line",
]


def first_line(error: BaseException) -> str:
    """The first line of a library's error that says something; its type where none does."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class FaceinvError(Exception):
    """Base of every error that faceinv raises on purpose."""


class InputError(FaceinvError, ValueError):
    """An image, mask, landmark set, or output path that cannot be used."""


class NoFaceError(InputError):
    """No face was found in an image and no landmarks were given."""


class ModelError(FaceinvError, ValueError):
    """A face model file that is missing, truncated or inconsistent."""


class ConfigError(FaceinvError, ValueError):
    """An unknown configuration key or a value out of its range."""


class BackendError(FaceinvError, RuntimeError):
    """An engine, device or dtype that is unknown or not available here."""


class DeviceLostError(BackendError):
    """A device that this process cannot use any more, as after a kernel that failed; a new process can."""
