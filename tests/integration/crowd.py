"""Opens connections to a port of loopback and says so; keeps them until its input ends, and leaves.

    python crowd.py PORT COUNT

A process of its own, since both ends of 10,000 connections are more files than one process may open. Every
second connection has begun a request that it never ends.
"""

import resource
import socket
import sys

_BEGUN = b"POST /v1/emails HTTP/1.1\r\nHost: x\r\nContent-Le"


def main(port: int, count: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(count)]
    for one in crowd[::2]:
        one.sendall(_BEGUN)
    sys.stdout.write(f"{len(crowd)}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
