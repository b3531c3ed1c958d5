"""Which addresses a caller's link may lead to. Pure.

Knows: schemes, ports, the address ranges that are not the public network. Does not know: names, how one is resolved.
A link is a request that this server makes in its caller's stead (server-side request forgery, CWE-918): it must not
reach what only this server can. So every address that a name resolves to is looked at, at every redirect.
"""

import ipaddress
from urllib.parse import SplitResult, urlsplit

from pointsman.errors import RequestError

SCHEMES = {"http": 80, "https": 443}
MOST_CHARS = 4096
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def checked(url: str, allowed_hosts: frozenset[str], param: str) -> SplitResult:
    """The link in parts. Raises RequestError `invalid_media` where its form alone forbids it.

    `allowed_hosts`: empty: any; a name of these may be on any network, for the operator said so.
    """
    try:
        parts = urlsplit(url[: MOST_CHARS + 1])
        port = parts.port
    except ValueError:
        raise refused(param, "is no URL") from None
    if len(url) > MOST_CHARS or not parts.hostname:
        raise refused(param, f"must be a URL of at most {MOST_CHARS} characters with a host")
    if parts.scheme not in SCHEMES:
        raise refused(param, f"must be http or https, or a data: URI, not {parts.scheme[:20]}")
    if parts.username is not None or parts.password is not None:
        raise refused(param, "must not hold a password")
    if allowed_hosts and parts.hostname not in allowed_hosts:
        raise refused(param, f"leads to {parts.hostname[:80]}, which is not one of media.allowed_hosts")
    if not allowed_hosts and port not in {None, SCHEMES[parts.scheme]}:
        raise refused(param, f"asks port {port}; only {SCHEMES[parts.scheme]} is asked")
    return parts


def is_public(address: str) -> bool:
    """Whether an address is on the public network, also where it hides in an IPv6 one."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        hidden = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if found in NAT64:
            hidden = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if hidden is not None:
            return is_public(str(hidden))
    return found.is_global and not found.is_multicast


def refused(param: str, problem: str) -> RequestError:
    """The one error of this room."""
    return RequestError(f"{param}: the link {problem}; or send the data itself", code="invalid_media", param=param)
