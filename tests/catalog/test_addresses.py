"""Addresses: which are public, one look-up for check and connection, and nothing that DNS says gets past it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.catalog.addresses import AddressError, Network, is_public

# first and last address of every block that is not public, and the neighbors outside of it
CLOSED_4 = {
    "0.0.0.0": "0.255.255.255",
    "10.0.0.0": "10.255.255.255",
    "100.64.0.0": "100.127.255.255",
    "127.0.0.0": "127.255.255.255",
    "168.63.129.16": "168.63.129.16",
    "169.254.0.0": "169.254.255.255",
    "172.16.0.0": "172.31.255.255",
    "192.0.0.0": "192.0.0.255",
    "192.0.2.0": "192.0.2.255",
    "192.31.196.0": "192.31.196.255",
    "192.52.193.0": "192.52.193.255",
    "192.88.99.0": "192.88.99.255",
    "192.168.0.0": "192.168.255.255",
    "192.175.48.0": "192.175.48.255",
    "198.18.0.0": "198.19.255.255",
    "198.51.100.0": "198.51.100.255",
    "203.0.113.0": "203.0.113.255",
    "224.0.0.0": "255.255.255.255",
}
CLOSED_6 = """
:: ::1 ::ffff:0:0 ::ffff:127.0.0.1 ::ffff:10.1.2.3 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 ::127.0.0.1 ::8.8.8.8
64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::1 64:ff9b:1::8.8.8.8 100::1 100:0:0:1::1
2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1 2002:808:808::1
2620:4f:8000::1 3fff::1 3fff:fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fdff::1 fe80::1 fe80::a9fe:a9fe febf::1
fec0::1 feff::1 ff00::1 ff02::1 ff05::2 ffff::1
""".split()
OPEN = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15 168.63.129.17
169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0
198.17.255.255 198.20.0.0 203.0.112.255 203.0.114.0 223.255.255.255 2000::1 2001:200::1 2001:4860:4860::8888
2003::1 2606:4700:4700::1111 2a00:1450:4001::1 3ffe::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8
""".split()


@pytest.mark.parametrize(("first", "last"), CLOSED_4.items())
def test_no_address_of_a_closed_block_is_public(first: str, last: str) -> None:
    low, high = int(IPv4Address(first)), int(IPv4Address(last))
    for number in {low, high, (low + high) // 2, min(low + 1, high), max(high - 1, low)}:
        assert not is_public(IPv4Address(number))
        assert not is_public(IPv6Address(f"::ffff:{IPv4Address(number)}"))
        assert not is_public(IPv6Address(f"64:ff9b::{IPv4Address(number)}"))


@pytest.mark.parametrize("address", CLOSED_6)
def test_private_ipv6_addresses_are_refused(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", OPEN)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses())
def test_whatever_python_calls_private_is_closed(address: IPv4Address | IPv6Address) -> None:
    mapped = getattr(address, "ipv4_mapped", None)
    if (mapped or address).is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert not is_public(address)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A listening socket on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def _answers(*addresses: str) -> list[tuple[object, ...]]:
    return [
        (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))
        for address in addresses
    ]


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "::1", "::ffff:127.0.0.1", "0"],
)
def test_no_spelling_of_this_machine_is_connected_to(server: socket.socket, host: str) -> None:
    port = server.getsockname()[1]
    with pytest.raises(AddressError, match="not a public address"):
        Network(ports=frozenset({port})).connect(host, port, seconds=1)


def test_one_closed_address_among_open_ones_closes_the_host() -> None:
    network = Network(resolve=lambda host, port: _answers("8.8.8.8", "10.0.0.1"))
    with pytest.raises(AddressError, match=r"10\.0\.0\.1"):
        network.connect("shop.example", 80, seconds=1)


def test_a_name_is_looked_up_once_and_that_very_address_connected(server: socket.socket) -> None:
    port = server.getsockname()[1]
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[tuple[object, ...]]:
        asked.append(host)
        where = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (where, port))]

    seen: list[object] = []

    def first_only(address: IPv4Address | IPv6Address) -> bool:
        seen.append(address)
        return str(address) == "127.0.0.1"

    network = Network(allowed=first_only, ports=frozenset({port}), resolve=rebinding)
    with network.connect("shop.example", port, seconds=2) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"
    assert asked == ["shop.example"]
    assert len(seen) == 2  # after the look-up, and again for the address that answered


def test_other_ports_are_closed() -> None:
    with pytest.raises(AddressError, match="port 22 is not one of 80, 443"):
        Network().connect("8.8.8.8", 22, seconds=1)
