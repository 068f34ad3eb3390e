"""Where the fetcher of a cache folder is met: its socket, its lock, its log. And that only its user may come."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import closing
from pathlib import Path

from ...storage.patience import try_until

_BACKLOG = 1024  # all workers of a machine may come at once
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: SO_PEERCRED


class Place:
    """The files of a fetcher. Construction does no IO."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket, self.lock, self.log = (folder / f"fetcher.{name}" for name in ("sock", "lock", "log"))

    def connect(self, timeout_s: float) -> socket.socket:
        """A connection to the fetcher. Raises `OSError`."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            with closing(_Folder(self.folder)) as folder:
                if not try_until(lambda: _connected(sock, folder.address(self.socket.name)), timeout_s):
                    raise TimeoutError(f"the fetcher of {self.folder} lets nobody in")
            if peer_uid(sock) != os.geteuid():
                raise PermissionError(f"the fetcher of {self.folder} is another user's")
        except BaseException:
            sock.close()
            raise
        return sock

    def listen(self) -> socket.socket:
        """A socket that clients connect to. The lock is held: whatever lies there is a dead fetcher's."""
        self.socket.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            with closing(_Folder(self.folder)) as folder:
                sock.bind(folder.address(self.socket.name))
            sock.listen(_BACKLOG)
        finally:
            os.umask(mask)
        return sock


def _connected(sock: socket.socket, address: str) -> bool:
    try:
        sock.connect(address)
    except BlockingIOError:  # the fetcher has not taken those before us yet; no timeout of the kernel's waits for that
        return False
    return True


class _Folder:
    """A folder by its descriptor: the address of a socket has at most 107 bytes, however long the path is."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def address(self, name: str) -> str:
        return f"/proc/self/fd/{self._fd}/{name}"

    def close(self) -> None:
        os.close(self._fd)


def peer_uid(sock: socket.socket) -> int:
    """Who is at the other end."""
    return int(_CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1])
