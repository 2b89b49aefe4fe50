"""The OpenSSL of Python's ssl module: found for the native module, and made into server contexts.

Everybody is measured with the same OpenSSL, the same cipher suite and no session resumption. The
certificate is made at run time and never leaves the server's process but for the moment in which
the ssl module reads it from a file.
"""

from __future__ import annotations

import base64
import importlib
import ssl
import tempfile
from pathlib import Path
from typing import Any, Final

from noria.lab.client import load_native
from noria.lab.errors import LabError

CIPHER_SUITE: Final = "TLS_AES_128_GCM_SHA256"
"""The only one that the load generator offers."""


def libraries(maps: Path = Path("/proc/self/maps")) -> tuple[str, str]:
    """Return the paths of libssl and libcrypto in this process. Raises LabError for none."""
    importlib.import_module("_ssl")  # which brings them along
    found: dict[str, str] = {}
    for line in maps.read_text(encoding="utf-8", errors="replace").splitlines():
        path = line.split(maxsplit=5)[-1]
        name = path.rpartition("/")[2]
        for library in ("libssl", "libcrypto"):
            if name.startswith((f"{library}.so", f"{library}-")):
                found.setdefault(library, path)
    if len(found) < 2:
        raise LabError(
            "the load generator finds no OpenSSL: this Python's ssl module has its own built in, "
            "so TLS cannot be measured with it; use a Python that is linked to libssl.so"
        )
    return found["libssl"], found["libcrypto"]


def load() -> Any:
    """Return the native module with TLS loaded. Raises LabError where that is impossible."""
    native = load_native()
    try:
        native.load_tls(*libraries())
    except OSError as error:
        raise LabError(f"OpenSSL cannot be used for the load generator: {error}") from error
    return native


def description() -> str:
    """Say which TLS is measured. Raises LabError."""
    native = load_native()
    return f"TLS 1.3, {CIPHER_SUITE}, no resumption, {native.load_tls(*libraries())}"


def missing() -> str | None:
    """Say why TLS cannot be measured here; None if it can."""
    try:
        load()
    except LabError as error:
        return str(error)
    return None


def key_pem(key: bytes) -> str:
    """Write a key of an elliptic curve, in DER, as PEM."""
    label = "EC PRIVATE KEY"
    lines = base64.encodebytes(key).decode().strip()
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


def server_context() -> ssl.SSLContext:
    """Make a context of TLS 1.3 with a new certificate and no resumption. Raises LabError."""
    certificate, key = load().make_certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    with tempfile.TemporaryDirectory(prefix="noria-lab-") as folder:
        path = Path(folder) / "certificate.pem"
        path.touch(mode=0o600)
        path.write_text(ssl.DER_cert_to_PEM_cert(certificate) + key_pem(key), encoding="ascii")
        context.load_cert_chain(path)
    return context
