"""How kernels are declared, compiled and launched; nothing here knows of faces."""
