"""Programs that take turns, so that what is compared is measured within the same seconds.

The bench opens a port of this host; every rank of every program connects, names itself, and then
sleeps until it is told to do something. A line of JSON each way is the whole protocol.
"""

import json
import socket
import subprocess
from collections.abc import Callable
from typing import Any

from mpipar.errors import LaunchError
from mpipar.settings import child_environment

LIMIT = 300  # s for one turn, and for a program to start


class Program:
    """A program of `ranks` processes, started by `commands`; each gets the port as its last argument.

    errors: LaunchError with what it said where it ends or stays silent for LIMIT
    """

    def __init__(self, name: str, ranks: int, commands: list[list[str]], environment: dict[str, str]) -> None:
        self.name = name
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(0.5)
        port = str(server.getsockname()[1])
        environment = child_environment(**environment)
        self._processes = [
            subprocess.Popen(
                [*command, port], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True,
            )
            for command in commands
        ]  # fmt: skip
        self._lines: list[Any] = []
        try:
            self._lines = self._accept(server, ranks)
        except BaseException:
            self.close()
            raise
        finally:
            server.close()

    def turn(self, **request: Any) -> list[dict[str, Any]]:
        """Every rank's answer to the request."""
        for line in self._lines:
            line.write(json.dumps(request) + "\n")
            line.flush()
        return [self._answer(line) for line in self._lines]

    def close(self) -> None:
        for line in self._lines:
            line.close()
        for process in self._processes:
            if not self._lines:
                process.kill()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stderr.close()

    def _accept(self, server: socket.socket, ranks: int) -> list[Any]:
        found = {}
        for _ in range(2 * LIMIT):
            try:
                connection, _ = server.accept()
            except TimeoutError:
                self._check_alive()
                continue
            connection.settimeout(LIMIT)
            line = connection.makefile("rw")
            found[self._answer(line)["rank"]] = line
            connection.close()
            if len(found) == ranks:
                return [found[rank] for rank in range(ranks)]
        raise LaunchError(f"bench: {self.name} did not start within {LIMIT} s; run mpipar doctor")

    def _answer(self, line: Any) -> dict[str, Any]:
        try:
            text = line.readline()
        except TimeoutError:
            raise LaunchError(f"bench: {self.name} took more than {LIMIT} s for a turn") from None
        if not text:
            self._failed()
        return json.loads(text)

    def _check_alive(self) -> None:
        if any(process.poll() is not None for process in self._processes):
            self._failed()

    def _failed(self) -> None:
        for process in self._processes:
            process.kill()
        said = [text.strip() for process in self._processes for text in process.stderr if text.strip()]
        raise LaunchError(f"bench: {self.name} ended and said {(said or ['nothing'])[-1]!r}")


def serve(port: int, rank: int, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The rank's side: answer requests until the bench hangs up."""
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rw") as line:
        print(json.dumps({"rank": rank}), file=line, flush=True)
        for text in line:
            print(json.dumps(answer(json.loads(text))), file=line, flush=True)
