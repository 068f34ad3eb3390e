"""`Dial` and `TlsConnection`: connections that `Transfer.cancel` can end while they are still being made."""

from __future__ import annotations

import http.client
import socket
import ssl

from .netguard import NetGuard
from .transfer import Transfer


class Dial:
    """`socket.create_connection`, but to a checked address, or to a proxy."""

    def __init__(self, guard: NetGuard, transfer: Transfer, proxy: tuple[str, int] | None = None) -> None:
        self._guard, self._transfer, self._proxy = guard, transfer, proxy

    def __call__(self, address: tuple[str, int], timeout: float, *_: object) -> socket.socket:
        """A connected socket, attached to the transfer. Raises `OSError`, a `PeerError`, or why it was cancelled."""
        host, port = self._proxy or address
        self._transfer.check()
        error: OSError | None = None
        for family, where in self._guard.resolve(host, port):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                self._transfer.attach(sock)
                sock.settimeout(timeout)
                sock.connect(where)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._transfer.check()
            except BaseException as failure:
                self._transfer.detach()
                sock.close()
                self._transfer.check()  # woken by `cancel`: no other address is tried
                if not isinstance(failure, OSError):
                    raise
                error = failure
            else:
                return sock
        raise error or OSError(f"{host} has no address")


class TlsConnection(http.client.HTTPSConnection):
    """Shakes hands on a socket that is attached already: the standard class shows it only afterwards."""

    def __init__(self, host: str, port: int, *, timeout: float, context: ssl.SSLContext, transfer: Transfer) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls, self._transfer = context, transfer

    def connect(self) -> None:
        """See `http.client.HTTPConnection.connect`."""
        http.client.HTTPConnection.connect(self)  # with the tunnel through a proxy, if there is one
        secure = self._tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock = secure
        self._transfer.attach(secure)
        secure.do_handshake()
