"""Pages for a browser that show a fit, and a folder of fits; each is one file that loads nothing from anywhere."""
