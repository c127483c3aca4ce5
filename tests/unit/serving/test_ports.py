import os
import socket

import pytest

from veriphoto_serving.triton import ports


@pytest.fixture
def taken() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_free_ports_are_free_and_different() -> None:
    found = ports.free_ports(5)
    assert len(set(found)) == 5
    assert [ports.obstacle(port) for port in found] == [""] * 5


def test_free_ports_avoids_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ports.free_ports(1)[0]
    assert first not in ports.free_ports(20, avoid=[first])


def test_a_taken_port_names_its_holder(taken: int) -> None:
    assert ports.obstacle(taken).startswith(f"port {taken} is taken by process {os.getpid()} (python")


def test_listening_finds_the_sockets_of_a_process(taken: int) -> None:
    assert ("127.0.0.1", taken) in ports.listening(os.getpid())


def test_addresses_of_both_families_are_read() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        assert ("::", server.getsockname()[1]) in ports.listening(os.getpid())


def test_a_port_of_root_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError

    monkeypatch.setattr(socket, "socket", Refusing)
    assert ports.obstacle(80) == "port 80 is reserved for root"


def test_a_holder_that_cannot_be_seen() -> None:
    assert ports.holder(ports.free_ports(1)[0]) == "another process"
