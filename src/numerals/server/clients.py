"""Who a client is, the share of a limit that each may take, and the delay after its wrong tokens."""

import asyncio
import ipaddress
import time
from collections import Counter, OrderedDict

from starlette.types import Scope

SHARE = 3  # times what is free that one client may hold
IPV6_PREFIX = 64  # bits of an address that one client has; it may choose the others itself

FIRST_DELAY_SECONDS = 0.1  # after a client's first wrong token; twice as much after the next one
MAX_DELAY_SECONDS = 5.0
MEMORY_SECONDS = 600.0  # after a client's last wrong token, its wrong tokens are forgotten
MAX_REMEMBERED_CLIENTS = 10_000
MAX_DELAYED_REQUESTS = 16  # of one process


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

    def has_room(self, client: str, amount: int = 1) -> bool:
        """Whether a client's share is large enough for an amount."""
        free = self._limit - self.taken
        left = free - amount + 1  # 1, so that a limit of 1 lets one in
        return amount <= free and self._by_client.get(client, 0) + amount <= SHARE * left

    def take(self, client: str, amount: int = 1) -> bool:
        """Take an amount for a client. Return False, and take nothing, if its share is not large enough."""
        if not self.has_room(client, amount):
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


class WrongTokens:
    """Delays the answers to wrong tokens, so that guessing a token takes longer than it is worth.

    Each wrong token of a client doubles its delay. Few answers are delayed at the same time; while no other may be, the
    tokens of a client that has sent wrong ones are not looked at. Nobody else waits: right tokens are not delayed.
    """

    def __init__(self) -> None:
        self._delayed = FairShare(MAX_DELAYED_REQUESTS)
        self._counts = OrderedDict[str, tuple[int, float]]()  # by client: wrong tokens, and when the last one came

    def count(self, client: str) -> int:
        """Return how many wrong tokens a client has sent, of those that are not forgotten."""
        count, last = self._counts.get(client, (0, 0.0))
        return count if time.monotonic() - last < MEMORY_SECONDS else 0

    def may_try(self, client: str) -> bool:
        """Whether to look at a client's token."""
        return not self.count(client) or self._delayed.has_room(client)

    async def add(self, client: str) -> None:
        """Count a wrong token, and wait before it is answered."""
        count = self.count(client) + 1
        self._counts[client] = count, time.monotonic()
        self._counts.move_to_end(client)
        if len(self._counts) > MAX_REMEMBERED_CLIENTS:
            self._counts.popitem(last=False)
        if self._delayed.take(client):
            try:
                await asyncio.sleep(delay_after(count))
            finally:
                self._delayed.give_back(client)


def delay_after(count: int) -> float:
    """Return the seconds before the answer to a client's wrong token number `count`."""
    return min(FIRST_DELAY_SECONDS * 2.0 ** min(count - 1, 10), MAX_DELAY_SECONDS)
