"""Verbs: one decorated function is one operation, in its blocking form."""

from noria.operations import files, sockets

__all__ = ["files", "sockets"]
