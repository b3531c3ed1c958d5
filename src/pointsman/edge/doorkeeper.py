"""The door of the site: by which name it is asked, and with whose key.

Knows: the `Host` header, the keys. Does not know: what is behind the door; rates and queues (`admission`).

The decision, numbered as in the code:
1. `/health` and `/ready` are open: probes have neither keys nor names
2. a name that is not ours → 403: a page from elsewhere can let its own name point here (DNS rebinding). An address is
   no such name, by which a scraper or a probe may ask; `localhost` neither, but where `server.allowed_hosts` is set,
   those are the names
3. the operators' paths have a key of their own (`gate`); of the console only what it shows, not its page. The manual is
   everybody's: it says what any Pointsman does, and a browser has no key to show
4. a key, where any are configured
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from pointsman.edge.gate import is_loopback
from pointsman.edge.http import Scope, header
from pointsman.errors import RequestError
from pointsman.settings import KeySettings

OPEN = frozenset({"/health", "/ready"})
OPERATORS = ("/admin/", "/models", "/aliases", "/console", "/v1/experiments/", "/v1/model-routing/reset")
MANUAL = frozenset({"/docs", "/openapi.json"})
TENANT = "pointsman.tenant"
"""Under which the site's scope says whose key let a request in; "" where none is asked for."""
ASKED_AS = "pointsman.request_id"
"""Under which it says the request's id, which may be a new one."""
MOST_REMEMBERED = 64

Owner = Callable[[str, str], KeySettings | None]


class Doorkeeper:
    """`owner`: whose key is in `Authorization`, `x-api-key`; raises RequestError. `names`: empty: any address."""

    def __init__(self, owner: Owner, names: tuple[str, ...] = ()) -> None:
        self._owner = owner
        self._names = frozenset(names)
        self._known: set[bytes] = set()

    def admit(self, scope: Scope) -> KeySettings | None:
        """Whose request it is; None: nobody is asked. Raises RequestError 401 or 403."""
        path: str = scope["path"]
        if path in OPEN:  # 1
            return None
        host = header(scope, b"host")
        if host not in self._known:  # 2
            self._look(host)
        if path.startswith(OPERATORS) or path in MANUAL:  # 3
            return None
        authorization = header(scope, b"authorization").decode("latin-1")
        return self._owner(authorization, header(scope, b"x-api-key").decode("latin-1"))  # 4

    def _look(self, host: bytes) -> None:
        name = _name_of(host)
        if name in self._names or _is_address(name) or (not self._names and (is_loopback(name) or not host)):
            if len(self._known) < MOST_REMEMBERED:
                self._known.add(host)
            return
        raise RequestError(
            f"This server does not go by the name {name[:80]!r}; add it to server.allowed_hosts",
            code="permission_denied",
            param="host",
        )

    def __repr__(self) -> str:
        return f"Doorkeeper({', '.join(sorted(self._names)) or 'any address'})"


def _name_of(host: bytes) -> str:
    try:
        return urlsplit(f"//{host.decode('latin-1')}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    return name.replace(".", "").isdigit() or ":" in name
