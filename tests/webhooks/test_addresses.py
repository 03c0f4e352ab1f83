"""Nothing is sent to where a merchant has no business: judged at registration, and at each try."""

from __future__ import annotations

import pytest

from flashsale.sales.errors import ValidationFailedError
from flashsale.webhooks.addresses import check_address, check_url, checked_lookup
from flashsale.webhooks.errors import AddressRefusedError
from tests.webhooks.conftest import Office, Receiver, receiving

PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946"]
NEARBY = ["127.0.0.1", "127.255.255.254", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1"]
NEVER = [
    *("0.0.0.0", "0.1.2.3", "::", "255.255.255.255", "224.0.0.1", "240.0.0.1", "ff02::1"),
    *("169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254", "fc00::1", "fec0::1"),
    *("100.64.0.1", "100.100.100.200", "192.0.0.192", "168.63.129.16", "198.18.0.1"),
    *("192.0.2.1", "203.0.113.9", "2001:db8::1", "100::1"),
    # IPv4 within IPv6: mapped, compatible, translated, 6to4, Teredo.
    *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("2002:7f00:1::", "2001:0:7f00:1::"),
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_connected_to(address: str) -> None:
    check_address(address, allow_private=False)
    check_address(address, allow_private=True)


@pytest.mark.parametrize("address", NEARBY)
def test_what_is_nearby_is_for_development(address: str) -> None:
    check_address(address, allow_private=True)
    with pytest.raises(AddressRefusedError):
        check_address(address, allow_private=False)


@pytest.mark.parametrize("address", [*NEVER, "not an address", "", "127.1"])
@pytest.mark.parametrize("allow_private", [False, True])
def test_the_rest_is_never_connected_to(address: str, allow_private: bool) -> None:
    with pytest.raises(AddressRefusedError):
        check_address(address, allow_private=allow_private)


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "ftp://example.com/", "file:///etc/passwd", "//example.com/"),
        *("https://", "https:///path", "https://:443/", "example.com", "", "javascript:alert(1)"),
        *("https://ann@example.com/", "https://ann:pw@example.com/", "https://@example.com/"),
        *("https://example.com:80/", "https://example.com:22/", "https://example.com:0/"),
        *("https://example.com:99999/", "https://example.com:x/", "https://example.com/#part"),
        *("https://exa mple.com/", "https://example.com/\n", "https://exämple.com/"),
        *("https://example.com\\@127.0.0.1/", "https://[fe80::1%25eth0]/", "https://[::1/"),
        *("https://127.0.0.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/"),
        *("https://169.254.169.254/latest/meta-data/", "https://" + "a" * 2048),
    ],
)
def test_addresses_that_are_refused_as_they_stand(url: str) -> None:
    with pytest.raises(AddressRefusedError):
        check_url(url, allow_private=False)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com/hooks?a=1", "example.com"),
        ("https://example.com:8443", "example.com"),
        ("https://8.8.8.8/", "8.8.8.8"),
        ("HTTPS://EXAMPLE.com:443/", "example.com"),
    ],
)
def test_addresses_that_are_taken(url: str, host: str) -> None:
    assert check_url(url, allow_private=False) == host


async def test_one_bad_address_of_a_name_is_enough() -> None:
    async def both(_: str) -> list[str]:
        return ["93.184.216.34", "127.0.0.1"]

    async def none(_: str) -> list[str]:
        return []

    with pytest.raises(AddressRefusedError):
        await checked_lookup("example.com", both, allow_private=False)
    with pytest.raises(OSError, match="no address"):
        await checked_lookup("example.com", none, allow_private=False)


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f.1", "2130706433", "017700000001"])
async def test_other_spellings_of_this_machine_are_refused(office: Office, host: str) -> None:
    """The system's own look-up says where they lead."""
    service = office.service(allow_private=False)
    with pytest.raises(ValidationFailedError) as refused:
        await service.create("m", f"https://{host}/", ())
    assert [error.pointer for error in refused.value.errors] == ["/url"]


@pytest.mark.parametrize("allow_private", [False, True])
async def test_a_name_that_leads_elsewhere_later(office: Office, allow_private: bool) -> None:
    """Public when it was registered, this machine when it is sent to (DNS rebinding)."""
    async with receiving() as inside:
        answers = ["93.184.216.34"]

        async def lookup(_: str) -> list[str]:
            return [answers.pop(0)] if answers else ["127.0.0.1"]

        service = office.service(allow_private=True, lookup=lookup)
        endpoint = await service.create("m", f"http://merchant.example:{inside.port}/", ())
        await office.pool.execute("UPDATE webhook_endpoints SET url = $1", _scheme(endpoint.url))
        await service.test("m", endpoint.id)
        await office.deliveries(allow_private=allow_private, lookup=lookup).deliver_due()
        (delivery,) = await service.deliveries("m", endpoint.id, None, None, 10)
        assert inside.told == []
        assert delivery.state == "pending"
        error = delivery.log[0]["error"]
        assert ("not public" in error) is not allow_private, error


def _scheme(url: str) -> str:
    """TLS first: without leave, nothing goes out in clear."""
    return url.replace("http://", "https://")


async def test_the_same_name_is_reached_where_that_is_allowed(
    office: Office, receiver: Receiver
) -> None:
    """The control: what is refused above would have arrived."""

    async def lookup(_: str) -> list[str]:
        return ["127.0.0.1"]

    service = office.service(lookup=lookup)
    endpoint = await service.create("m", f"http://merchant.example:{receiver.port}/", ())
    await service.test("m", endpoint.id)
    await office.deliveries(lookup=lookup).deliver_due()
    assert receiver.types() == ["webhook.test"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_lead_nowhere(office: Office, receiver: Receiver, status: int) -> None:
    async with receiving() as inside:
        await office.endpoint(receiver)
        receiver.respond(status, headers={"Location": inside.url})
        await office.order("x")
        await office.deliveries().deliver_due()
        assert (len(receiver.told), inside.told) == (1, [])
        assert await office.states() == ["pending"]


async def test_a_number_is_judged_at_each_try_as_well(office: Office, receiver: Receiver) -> None:
    endpoint = await office.endpoint(receiver)  # while this was a development machine
    await office.order("x")
    await office.deliveries(allow_private=False).deliver_due()
    assert receiver.told == []
    (delivery,) = await office.service().deliveries("m", endpoint.id, None, None, 10)
    assert delivery.log[0]["error"].startswith("Not sent: ")
