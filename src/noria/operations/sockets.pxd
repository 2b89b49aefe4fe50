from noria.core.operation cimport Operation
from noria.native cimport sockets as native
