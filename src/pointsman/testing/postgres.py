"""A real PostgreSQL on a free port, to be killed, stalled and started again: for tests and rehearsals.

Needs the server's programs (`initdb`, `pg_ctl`). Knows: one server and its folder. Does not know: who talks to it.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

PLACES = "/usr/lib/postgresql"
PATIENCE_S = 30.0
UNPRIVILEGED = "nobody"
DATABASE = "postgres"
CONFIGURATION = "listen_addresses='127.0.0.1' port={port} unix_socket_directories='' fsync=off shared_buffers='16MB'"


def binaries() -> Path | None:
    """The folder that holds the programs of the newest server here."""
    found = sorted(Path(PLACES).glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    initdb = found[-1] if found else shutil.which("initdb")
    return Path(initdb).parent if initdb else None


class PostgresServer:
    """Runs while its context is open; its folder goes with it. Raises FileNotFoundError without the programs."""

    def __init__(self) -> None:
        here = binaries()
        if here is None:
            raise FileNotFoundError("initdb is neither on the path nor under " + PLACES)
        self._programs = here
        # The server refuses to run as root.
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="pointsman-postgres-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"postgresql://pointsman@127.0.0.1:{self.port}/{DATABASE}"

    def __enter__(self) -> Self:
        if self._user:
            found = pwd.getpwnam(self._user)
            os.chown(self._folder, found.pw_uid, found.pw_gid)
        self._run("initdb", "--auth=trust", "--username=pointsman", "--no-sync", "--encoding=UTF8", "--locale=C")
        with (self._folder / "postgresql.conf").open("a") as file:
            file.write("\n".join(CONFIGURATION.format(port=self.port).split(" ")) + "\n")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Return when it accepts connections."""
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self._folder}/log")

    def stall(self) -> None:
        """It keeps its connections and answers nothing new."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """At once, every connection cut."""
        self.resume()
        self._run("pg_ctl", "stop", "--mode=immediate", "--silent", check=False)

    def _signal(self, number: signal.Signals) -> None:
        """To the server and to every process it started: each serves one connection."""
        try:
            pid = (self._folder / "postmaster.pid").read_text().split()[0]
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:
            return
        for one in (pid, *children):
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(int(one), number)

    def _run(self, program: str, *options: str, check: bool = True) -> None:
        command = [str(self._programs / program), *options, f"--pgdata={self._folder}"]
        subprocess.run(
            command,
            user=self._user,
            cwd="/",
            check=check,
            timeout=PATIENCE_S,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __repr__(self) -> str:
        return f"PostgresServer({self.port})"
