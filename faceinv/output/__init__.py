"""Files and pictures for people: meshes, overlays, sheets of models."""
