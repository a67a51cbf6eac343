"""The orders service, in Python with PyJWT. pip install 'pyjwt[crypto]'; python orders.py

The gateway has judged scope and role already. This service judges again: a request may come
past the gateway, and a signature is worth more than a network.
"""

import json
import os
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt


def setting(name):
    value = os.environ.get(name)
    if not value:
        sys.exit(f"{name} is not set")
    return value


ISSUER, AUDIENCE, JWKS_URL, PORT = map(setting, ("ISSUER", "AUDIENCE", "JWKS_URL", "PORT"))
BEARER = re.compile(r"Bearer ([\w.-]+)", re.ASCII | re.IGNORECASE)


class NoKeys(Exception):
    """There is no key set, so nothing can be said about a token."""


class Keys:
    """Caches the key set, and asks again for an unknown kid at most every 30 seconds:
    else anybody could make this service fetch as often as they like."""

    def __init__(self, url):
        self._client = jwt.PyJWKClient(url, cache_jwk_set=True, lifespan=300, timeout=3)
        self._asked = float("-inf")

    def key_for(self, token):
        header = jwt.get_unverified_header(token)
        # No other kind of JWT passes for an access token (RFC 9068 §4).
        if header.get("typ") != "at+jwt" or not isinstance(header.get("kid"), str):
            raise jwt.InvalidTokenError("typ or kid")
        for refresh in (False, True):
            if refresh:
                if time.monotonic() - self._asked < 30:
                    break
                self._asked = time.monotonic()
            for key in self._fetch(refresh):
                if key.key_id == header["kid"]:
                    return key
        raise jwt.InvalidTokenError("unknown kid")

    def _fetch(self, refresh):
        try:
            return self._client.get_signing_keys(refresh=refresh)
        except Exception as error:
            # Nobody there, a page, an empty set, keys of no use: PyJWT has an error for each, some
            # of which it has for tokens too.
            raise NoKeys from error


KEYS = Keys(JWKS_URL)


def claims_of(authorization):
    match = BEARER.fullmatch(authorization or "")
    if not match:
        raise jwt.InvalidTokenError("no bearer token")
    return jwt.decode(
        match[1],
        KEYS.key_for(match[1]),
        algorithms=["RS256"],  # what Cloakroom is configured to sign with
        issuer=ISSUER,
        audience=AUDIENCE,
        leeway=60,
        options={
            "require": ["iss", "sub", "aud", "client_id", "exp", "nbf", "iat", "jti"],
            # One audience: a token for several services could be replayed by one at another.
            "strict_aud": True,
        },
    )


ROUTES = {
    "/api/orders": (
        lambda claims: "orders:read" in claims.get("scope", "").split(),
        lambda claims: {"subject": claims["sub"], "name": claims.get("name"), "orders": ["1001", "1002"]},
    ),
    "/api/reports": (
        lambda claims: "admin" in claims.get("roles", []),
        lambda claims: {"subject": claims["sub"], "email": claims.get("email"), "revenue": 213.5},
    ),
}


class Orders(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        try:
            claims = claims_of(self.headers.get("Authorization"))
        except NoKeys:
            # No key, no verdict: that is our trouble and not the caller's.
            return self.answer(503, {"error": "temporarily_unavailable"})
        except jwt.PyJWTError:
            return self.answer(401, {"error": "invalid_token"})
        route = ROUTES.get(self.path.partition("?")[0])
        if route is None:
            return self.answer(404, {"error": "not_found"})
        allows, body = route
        if not allows(claims):
            return self.answer(403, {"error": "insufficient_scope"})
        return self.answer(200, body(claims))

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Bearer error="invalid_token"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Quiet: a request line may hold what belongs in no log."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(PORT)), Orders).serve_forever()
