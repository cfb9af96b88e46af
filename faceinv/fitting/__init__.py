"""From a photo to a face: the generic solver, the objective, the stages, the result."""
