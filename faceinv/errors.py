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
    "escaped",
    "first_line",
]


def escaped(text: str) -> str:
    """A text that can be written as UTF-8: what stands for the bytes of a file name that is none is escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def first_line(error: BaseException) -> str:
    """The first line of a library's error that says something; its type where none does."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class FaceinvError(Exception):
    """Base of every error that faceinv raises on purpose. Its message can be printed and written anywhere."""

    def __init__(self, *message: object) -> None:
        super().__init__(*(escaped(part) if isinstance(part, str) else part for part in message))


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
