"""The engines. Nothing here is imported until the registry is asked for it."""
