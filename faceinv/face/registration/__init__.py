"""Non-rigid registration: laying one head's mesh on another's surface, so that each vertex has its counterpart."""

from __future__ import annotations

from faceinv.face.registration.correspondence import Correspondence
from faceinv.face.registration.nonrigid import RegistrationSettings, Template, register_surface

__all__ = ["Correspondence", "RegistrationSettings", "Template", "register_surface"]
