"""Verbs: one decorated function is one operation, in its blocking form."""

from noria.operations import children, files, paths, sockets

__all__ = ["children", "files", "paths", "sockets"]
