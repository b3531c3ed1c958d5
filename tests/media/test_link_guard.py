"""Which links are followed: by their form, and by the addresses they lead to."""

import pytest

from pointsman.errors import RequestError
from pointsman.media.guard import checked, is_public

ANY: frozenset[str] = frozenset()


@pytest.mark.parametrize("url", ["https://example.com/a.png", "http://example.com:80/", "https://8.8.8.8/x?y=1#z"])
def test_ordinary_links_are_followed(url: str) -> None:
    assert checked(url, ANY, "p").hostname


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("file:///etc/passwd", "host"),
        ("gopher://example.com/", "http or https"),
        ("http://user:secret@example.com/", "password"),
        ("http://example.com:6379/", "port 6379"),
        ("http://", "host"),
        ("http://[::1", "no URL"),
        ("http://example.com:99999/", "no URL"),
        ("http://example.com/" + "x" * 5000, "4096 characters"),
    ],
)
def test_a_form_that_forbids_it(url: str, told: str) -> None:
    with pytest.raises(RequestError, match=told) as caught:
        checked(url, ANY, "messages[0].content[1].image_url")
    assert (caught.value.code, caught.value.param) == ("invalid_media", "messages[0].content[1].image_url")
    assert "secret" not in caught.value.message


def test_the_operators_hosts_are_the_only_ones_and_may_have_any_port() -> None:
    own = frozenset({"files.lan"})
    assert checked("http://files.lan:8080/a.png", own, "p").port == 8080
    with pytest.raises(RequestError, match="allowed_hosts"):
        checked("https://example.com/", own, "p")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 127.8.8.8 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 "
    "::1 :: fe80::1%eth0 fc00::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: ff02::1 "
    "192.0.2.1 198.18.0.1 2001:db8::1 nonsense 1.2.3".split(),
)
def test_everything_else(address: str) -> None:
    assert not is_public(address)
