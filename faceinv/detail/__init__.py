"""Fine detail: the relief of a photo's skin on a fitted face, from shading."""
