#!/usr/bin/env python3
"""Serves moto on a free port of 127.0.0.1, prints the port, and ends when standard input does.

Requests are answered one at a time: moto's conditional writes look before they leap, and two threads could both find
the condition true.
"""

import os
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server


def main() -> None:
    moto = DomainDispatcherApplication(create_backend_app)
    alone = threading.Lock()

    def application(environ, start_response):
        with alone:
            return list(moto(environ, start_response))

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    os.environ["MOTO_PORT"] = str(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
