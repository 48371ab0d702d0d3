"""Who a client is, and the share of a limit that each client may take."""

import ipaddress
from collections import Counter

from starlette.types import Scope

SHARE = 3  # times what is free that one client may hold
IPV6_PREFIX = 64  # bits of an address that one client has; it may choose the others itself


def client_of(host: str) -> str:
    """Return what identifies the client with an address: the address, or its IPv6 network.

    Args:
        host: address of the connection, or from a proxy's X-Forwarded-For.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), IPV6_PREFIX), strict=False))


def host_of(scope: Scope) -> str:
    """Return the address of the client that sent a request; behind a trusted proxy, the proxy's client."""
    client = scope.get("client")
    return client[0] if client else "unknown"


class FairShare:
    """A limit on what all clients hold together, of which no client may take so much that others get nothing.

    A client may hold up to SHARE times what is free: alone three quarters of the limit, two clients three sevenths
    each, and so on. So something is always free for the next client.

    Args:
        limit: what all clients together may hold.

    Attributes:
        taken: what they hold.
    """

    def __init__(self, limit: int) -> None:
        self.taken = 0
        self._limit, self._by_client = limit, Counter[str]()

    def take(self, client: str, amount: int = 1) -> bool:
        """Take an amount for a client. Return False, and take nothing, if its share is not large enough."""
        free = self._limit - self.taken
        if amount > free or self._by_client[client] + amount > SHARE * free:
            return False
        self.taken += amount
        self._by_client[client] += amount
        return True

    def give_back(self, client: str, amount: int = 1) -> None:
        """Return an amount that `take` took."""
        self.taken -= amount
        self._by_client[client] -= amount
        if not self._by_client[client]:
            del self._by_client[client]  # or clients that are gone would fill the memory
