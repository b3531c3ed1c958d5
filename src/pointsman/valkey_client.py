"""How a Valkey or Redis that several gateways share is spoken to. Needs the extra `valkey`; who shares imports this.

Knows: the client library, what it throws. Does not know: what is kept there, when to give up.
A call that is given up closes its connection, so that its late answer cannot become another's.
"""

import asyncio

from valkey.asyncio import BlockingConnectionPool, Valkey
from valkey.asyncio.retry import Retry
from valkey.backoff import NoBackoff
from valkey.exceptions import ValkeyError

CONNECTIONS = 32
FAULTS = (ValkeyError, OSError, ValueError, asyncio.IncompleteReadError)


def client_of(url: str, password: str, timeout_s: float) -> Valkey:
    """A client with a pool of its own; it connects when it is first asked. `password` empty: none."""
    pool = BlockingConnectionPool.from_url(
        url,
        password=password or None,
        max_connections=CONNECTIONS,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        lib_name=None,
        lib_version=None,
    )
    return Valkey.from_pool(pool)
