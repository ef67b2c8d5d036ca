"""Check the addresses that an image link may lead to: public ones only, whatever a name server says (no SSRF).

The choice made here: a name is resolved once, every address that it has must be allowed, and the connection is opened
to one of these very addresses and checked again.  A name whose answer changes between look-up and connection (DNS
rebinding) therefore gains nothing, because there is no second look-up.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[tuple[Any, ...]]]
"""Host and port → entries as of `socket.getaddrinfo`."""

# IANA's special-purpose registry, and what clouds use inside: 168.63.129.16 is Azure's, 100.64/10 also Alibaba's
_CLOSED_4 = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
        ),
    )
)
_OPEN_6 = IPv6Network("2000::/3")  # all of global unicast that was ever given out
_CLOSED_6 = tuple(  # Teredo and other protocols, documentation, 6to4 (which embeds any IPv4 address), AS112
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressError(Exception):
    """A host that cannot be found, or that leads to an address that is not allowed."""


def is_public(address: Address) -> bool:
    """Whether the address belongs to the public internet; an IPv4 address inside an IPv6 one is checked by itself."""
    if isinstance(address, IPv4Address):
        return not any(address in closed for closed in _CLOSED_4)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _OPEN_6 and not any(address in closed for closed in _CLOSED_6)


def _look_up(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


@dataclass(frozen=True, slots=True)
class Network:
    """What may be connected to: addresses, ports, and how names are looked up."""

    allowed: Callable[[Address], bool] = is_public
    ports: frozenset[int] = frozenset({80, 443})
    resolve: Resolve = _look_up

    def connect(self, host: str, port: int, *, seconds: float) -> socket.socket:
        """A connection to an allowed address of the host; AddressError, or OSError when nothing answers in time."""
        if port not in self.ports:
            raise AddressError(f"port {port} is not one of {', '.join(map(str, sorted(self.ports)))}")
        found = self.resolve(host, port)
        targets = list(dict.fromkeys((entry[0], entry[4]) for entry in found))
        if not targets:
            raise AddressError("the host has no address")
        for _, where in targets:
            self._check(where[0])
        problem: OSError | None = None
        for family, where in targets:
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(seconds / len(targets))
                connection.connect(where)
                self._check(connection.getpeername()[0])
            except OSError as error:
                connection.close()
                problem = error
            except AddressError:
                connection.close()
                raise
            else:
                return connection
        raise problem or OSError("no address answers")

    def _check(self, text: str) -> None:
        address = ip_address(text.partition("%")[0])
        if not self.allowed(address):
            raise AddressError(f"it leads to {address}, which is not a public address")
