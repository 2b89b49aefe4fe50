"""Thin wrappers over kernel and C API calls; knows nothing of noria.

Each module exists twice under one name: `<name>.pyx` calls the kernel directly and is compiled,
`<name>.py` does the same through the standard library and serves interpreted builds. An extension
module wins over the `.py` on import, so callers never ask which one they have. Failures are
negative errno numbers in both.
"""
