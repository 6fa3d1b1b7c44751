"""Addresses that cannot be listened on, in a line."""

import socket

import pytest

from chirplet.server.listen import bind, is_loopback, listen, url_of
from chirplet.system.error import ConfigError


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "no host"])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(ConfigError, match=rf"stage.host: got '{host}', should be an address of this machine \(.+\)$"):
        bind(host, 0)


def test_a_port_in_use_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"stage.port: got {port}, which another process uses"):
            bind("127.0.0.1", port)


def test_who_comes_second_to_a_port_is_refused():
    with bind("127.0.0.1", 0) as first:
        listen(first)
        listen(first)
        with pytest.raises(ConfigError, match="which another process uses"):
            bind("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "loopback", "url"),
    [("127.0.0.1", True, "http://127.0.0.1:"), ("localhost", True, "http://"), ("0.0.0.0", False, "http://0.0.0.0:")],
)
def test_the_address(host, loopback, url):
    with bind(host, 0) as bound:
        assert is_loopback(bound) == loopback
        assert url_of(bound) == f"{url}{bound.getsockname()[1]}" or host == "localhost"
