"""Non-rigid registration: laying one head's mesh on another's surface, so that each vertex has its counterpart."""

from __future__ import annotations

from faceinv.face.registration.correspondence import Correspondence
from faceinv.face.registration.nonrigid import Registered, RegistrationSettings, Stage, Template, register_surface
from faceinv.face.registration.similarity import Similarity, similarity_of_points

__all__ = [
    "Correspondence",
    "Registered",
    "RegistrationSettings",
    "Similarity",
    "Stage",
    "Template",
    "register_surface",
    "similarity_of_points",
]
