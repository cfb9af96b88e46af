"""faceinv."""
