#!/usr/bin/env python3
"""A TLS server before a PSP server: one request a connection.

tls_proxy.py CERT KEY BACKEND_PORT prints the port that it listens at, and then
a line for each connection: "resumed" if the client resumed a TLS session of an
earlier one, "full" if it did not, "refused" if there was no handshake.
"""
import re
import socket
import ssl
import sys
import threading


def read_message(connection):
    """A request with its body, as the client sent it; b'' if it sent none."""
    data = b''
    while b'\r\n\r\n' not in data:
        more = connection.recv(65536)
        if not more:
            return b''
        data += more
    head = data[:data.index(b'\r\n\r\n') + 4]
    length = re.search(rb'^content-length: (\d+)', head, re.I | re.M)
    while len(data) < len(head) + (int(length.group(1)) if length else 0):
        data += connection.recv(65536)
    return data


def serve(raw, context, backend_port):
    try:
        connection = context.wrap_socket(raw, server_side=True)
    except (ssl.SSLError, OSError):
        print('refused', flush=True)
        return
    print('resumed' if connection.session_reused else 'full', flush=True)
    try:
        request = read_message(connection)
        with socket.create_connection(('127.0.0.1', backend_port)) as backend:
            backend.sendall(request.replace(b'\r\n\r\n', b'\r\nConnection: close\r\n\r\n', 1))
            while reply := backend.recv(65536):
                connection.sendall(reply)
        connection.unwrap()
    except OSError:
        pass
    connection.close()


def main():
    cert, key, backend_port = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listener = socket.create_server(('127.0.0.1', 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0], context, int(backend_port)), daemon=True).start()


main()
