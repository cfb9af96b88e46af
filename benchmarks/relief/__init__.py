"""Faces with known relief: ridges, paint, hair and light, drawn by formula or traced, and measures of what is found."""
