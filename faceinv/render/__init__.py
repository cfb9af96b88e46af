"""Pictures of a face: scenes, pixels, texture coordinates, textures."""
