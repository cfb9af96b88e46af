"""Engines, and what they replace, measured side by side: `faceinv compare`."""
