"""Headers that keep a browser from doing with an answer what it is not for. Knows no route."""

from __future__ import annotations

#: On every answer that does not choose otherwise; the hot routes have them prepared as bytes.
COMMON_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: On pages besides, which a browser shows and others might frame or keep a handle on.
PAGE_HEADERS = {
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def transport_security(hsts_seconds: int) -> dict[str, str]:
    """Strict-Transport-Security (RFC 6797), for who serves nothing but HTTPS; nothing for 0."""
    return {"Strict-Transport-Security": f"max-age={hsts_seconds}"} if hsts_seconds else {}
