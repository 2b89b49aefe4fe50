"""Files on the loop: opened by name or number, accessed at positions (F1)."""

from noria.files.file import File, FileStatistics
from noria.files.opening import open_file

__all__ = ["File", "FileStatistics", "open_file"]
