"""A way to a server that can be watched, and cut."""

import contextlib
import re
import socket
import threading


class Proxy:
    """Hands on what clients and a server say to each other, on a port of its own.

    `on_put` is called with the path of each object before its upload reaches the server. While `cut`, nothing
    gets through.
    """

    def __init__(self, host, port):
        self.target, self.cut, self.on_put = (host, port), False, lambda _path: None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self._listener.getsockname())
        self._open = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()
        self.drop_all()

    def drop_all(self):
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.cut:
                    client.close()
                    continue
                server = socket.create_connection(self.target)
                self._open |= {client, server}
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._hand_on, args=(source, target, source is client), daemon=True).start()

    def _hand_on(self, source, target, from_client):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if self.cut:
                    break
                for path in re.findall(rb"PUT (\S+) HTTP", data) if from_client else ():
                    self.on_put(path.decode())
                target.sendall(data)
        for each in (source, target):
            self._open.discard(each)
            each.close()
