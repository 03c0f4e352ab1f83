"""Whom an address limit counts: only what a proxy of ours has written is believed."""

from __future__ import annotations

import pytest

from flashsale.limits.addresses import HOPS_MAX, Addresses, networks

PROXIED = Addresses(trusted=networks("10.0.0.0/8, fd00::/8"), exempt=networks("127.0.0.0/8 ::1"))


@pytest.mark.parametrize(
    ("peer", "subject"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", None),
        ("::1", None),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_without_a_header_it_is_the_socket(peer, subject):
    assert PROXIED.subject(peer) == subject


@pytest.mark.parametrize(
    ("forwarded", "subject"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7"], "203.0.113.7"),  # the first one was made up
        (["198.51.100.1", "203.0.113.7"], "203.0.113.7"),  # the same, as two lines
        (["203.0.113.7, 10.1.1.1, 10.2.2.2"], "203.0.113.7"),
        (["203.0.113.7:4711"], "203.0.113.7"),
        (["[2001:db8::1]:4711"], "2001:db8::/64"),
        (["2001:db8::1"], "2001:db8::/64"),
        (["203.0.113.7, unknown"], "10.0.0.1"),
        (["203.0.113.7,"], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["9" * 5000], "10.0.0.1"),
        (["10.9.9.9"], "10.9.9.9"),
        (["127.0.0.1"], None),
        (["203.0.113.7" + ", 10.0.0.2" * HOPS_MAX], "10.0.0.2"),
    ],
)
def test_behind_a_proxy_it_is_the_last_hop_that_is_not_ours(forwarded, subject):
    assert PROXIED.subject("10.0.0.1", forwarded) == subject


def test_from_anybody_else_the_header_is_nothing():
    assert PROXIED.subject("203.0.113.7", ["198.51.100.1"]) == "203.0.113.7"
    assert Addresses().subject("127.0.0.1", ["198.51.100.1"]) == "127.0.0.1"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "proxy", "10.0.0.0/8;::1"])
def test_what_is_no_network_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        networks(text)
