"""Path-traced portraits with known truth: heads, paint, light, camera, and the scene that Mitsuba traces."""
