"""The version of this release, and of what it runs on."""

from __future__ import annotations

__all__ = ["__version__", "library_versions"]

__version__ = "0.1.0"


def library_versions(backend: str) -> dict[str, str]:
    """Versions by name: faceinv, Python, and the libraries of an engine, `engine[:device][:dtype]`."""
    import platform
    from importlib import metadata

    versions = {"faceinv": __version__, "python": platform.python_version()}
    engine = backend.split(":")[0]
    libraries = {"numpy": ("numba",), "cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy")}.get(engine, (engine,))
    for name in ("numpy", "scipy", *libraries):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
