"""Verifies JWTs with PyJWT, as a service would: from the published keys alone.

Reads one question per line, {keys, jwts, now, issuer, audience}, and answers each with
a line: the list of what was wrong, one entry per JWT, null if nothing was. PyJWT knows
no clock but the system's, so the times are judged here.
"""

import json
import sys

import jwt

LEEWAY = 60


def fault(token, keys, now, issuer, audience):
    try:
        header = jwt.get_unverified_header(token)
        if header["typ"] != "at+jwt":
            return "typ"
        key = next((key for key in keys if key["kid"] == header["kid"]), None)
        if key is None:
            return "unknown kid"
        claims = jwt.decode(
            token,
            jwt.PyJWK(key),
            algorithms=[key["alg"]],
            issuer=issuer,
            audience=audience,
            options={
                "require": ["exp", "iat", "nbf", "jti", "sub", "client_id"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.PyJWTError as error:
        return type(error).__name__
    if not claims["nbf"] - LEEWAY <= now < claims["exp"] + LEEWAY:
        return "time"
    return None


for line in sys.stdin:
    question = json.loads(line)
    context = [question[name] for name in ("keys", "now", "issuer", "audience")]
    print(json.dumps([fault(token, *context) for token in question["jwts"]]), flush=True)
