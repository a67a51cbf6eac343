"""Every grant with Authlib's OAuth2Session, as its documentation says."""

import os
from urllib.parse import parse_qsl, urlsplit

# http on a loopback address; nothing else here is not production.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2 import rfc8414, rfc9207
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from suite import CLIENTS, ISSUER, SUITE, Browser, call, case, parameter, run

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
ORDERS = "https://api.example.com/orders"

METADATA = rfc8414.AuthorizationServerMetadata(
    requests.get(rfc8414.get_well_known_url(ISSUER, external=True), timeout=30).json()
)

METHODS = {
    "native": "none",
    "post": "client_secret_post",
    "inline": "private_key_jwt",
    "remote": "private_key_jwt",
}


def session(name, scope=None):
    """A client and how it authenticates."""
    who = CLIENTS[name]
    method = METHODS.get(name, "client_secret_basic")
    secret = who.get("secret")
    if method == "private_key_jwt":
        secret = ECKey.import_key(who["key"]["pem"])
    client = OAuth2Session(
        who["id"],
        secret,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        redirect_uri=who.get("redirectUri"),
        scope=scope,
        code_challenge_method="S256",
        token_endpoint=METADATA["token_endpoint"],
        default_timeout=30,
    )
    if method == "private_key_jwt":
        # The audience is the issuer (rfc7523bis), which this library has an option for.
        client.register_client_auth_method(PrivateKeyJWT(ISSUER, alg=who["key"]["alg"]))
    return client


def go(name, **more):
    """The code flow up to the redirect to the client."""
    who = CLIENTS[name]
    client = session(name, who["scope"])
    verifier = generate_token(48)
    url, state = client.create_authorization_url(
        METADATA["authorization_endpoint"], code_verifier=verifier, **more
    )
    callback = Browser().authorize(url, who["redirectUri"])
    return client, callback, state, verifier


def sign_in(name, **more):
    """The code flow to the tokens."""
    client, callback, state, verifier = go(name, **more)
    assert parameter(callback, "iss") == METADATA["issuer"], "RFC 9207"
    client.fetch_token(authorization_response=callback, state=state, code_verifier=verifier)
    return client


def refused(error, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except OAuthError as thrown:
        assert thrown.error == error, thrown
    else:
        raise AssertionError(f"{error} was expected")


@case("the metadata is found where RFC 8414 says, and is in order")
def _():
    METADATA.validate(metadata_classes=[rfc9207.AuthorizationServerMetadata])
    assert METADATA["issuer"] == ISSUER


@case("the code flow with every way to authenticate")
def _():
    for name in ["native", "basic", "post", "inline", "remote"]:
        client = sign_in(name)
        assert client.token["token_type"] == "Bearer", name
        seen = client.get(ISSUER + "/api/profile").json()
        assert seen["claims"]["sub"] == "demo|alice", name
        assert seen["claims"]["client_id"] == CLIENTS[name]["id"], name


@case("a refresh gives a new pair, and the library takes it by itself")
def _():
    for name in ["native", "basic", "inline"]:
        client = sign_in(name)
        first = dict(client.token)
        client.refresh_token()
        assert client.token["access_token"] != first["access_token"], name
        assert client.token["refresh_token"] != first["refresh_token"], name
        # Dead by the library's own clock: it refreshes before it calls.
        second = dict(client.token)
        client.token["expires_at"] = 1
        assert client.get(ISSUER + "/api/orders").status_code == 200, name
        assert client.token["access_token"] != second["access_token"], name


@case("a refresh token of an older generation ends the login")
def _():
    client = sign_in("native")
    first = client.token["refresh_token"]
    client.refresh_token()
    client.refresh_token()
    newest = client.token["refresh_token"]
    refused("invalid_grant", client.refresh_token, refresh_token=first)
    refused("invalid_grant", client.refresh_token, refresh_token=newest)


@case("a code presented twice takes back what it gave")
def _():
    client, callback, state, verifier = go("native")
    redeem = {"authorization_response": callback, "state": state, "code_verifier": verifier}
    token = client.fetch_token(**redeem)["access_token"]
    assert call("/api/orders", token).status_code == 200
    refused("invalid_grant", client.fetch_token, **redeem)
    assert call("/api/orders", token).status_code == 401


@case("client credentials with every way to authenticate")
def _():
    for name in ["basic", "post", "inline", "remote"]:
        client = session(name, "orders:read")
        token = client.fetch_token(grant_type="client_credentials")
        assert token["scope"] == "orders:read", name
        assert "refresh_token" not in token, name
        seen = client.get(ISSUER + "/api/orders").json()
        assert seen["subject"] == f"client|{CLIENTS[name]['id']}", name
    refused("invalid_scope", session("basic", "admin").fetch_token, grant_type="client_credentials")


@case("a wrong secret, and a stranger's key")
def _():
    client = session("basic")
    client.client_secret = "wrong"
    refused("invalid_client", client.fetch_token, grant_type="client_credentials")
    client = session("inline")
    client.client_secret = ECKey.generate_key("P-256")
    refused("invalid_client", client.fetch_token, grant_type="client_credentials")


@case("a pushed request, by hand, since this library has no PAR")
def _():
    who = CLIENTS["pushing"]
    client = session("pushing", who["scope"])
    verifier = generate_token(48)
    url, state = client.create_authorization_url(
        METADATA["authorization_endpoint"], code_verifier=verifier
    )
    form = dict(parse_qsl(urlsplit(url).query))
    pushed = client.post(
        METADATA["pushed_authorization_request_endpoint"],
        data=form,
        auth=client.client_auth("client_secret_basic"),
    )
    assert pushed.status_code == 201, pushed.text
    request = requests.Request(
        "GET",
        METADATA["authorization_endpoint"],
        params={"client_id": who["id"], "request_uri": pushed.json()["request_uri"]},
    ).prepare()
    callback = Browser().authorize(request.url, who["redirectUri"])
    client.fetch_token(authorization_response=callback, state=state, code_verifier=verifier)
    assert client.get(ISSUER + "/api/orders").status_code == 200


@case("token exchange")
def _():
    user = sign_in("native")
    client = session("exchanger")
    actor = client.fetch_token(grant_type="client_credentials")["access_token"]
    subject = {
        "grant_type": EXCHANGE,
        "subject_token": user.token["access_token"],
        "subject_token_type": ACCESS_TOKEN,
    }
    given = client.fetch_token(**subject, resource=ORDERS)
    assert given["issued_token_type"] == ACCESS_TOKEN
    assert call("/api/orders", given["access_token"]).json()["subject"] == "demo|alice"
    given = client.fetch_token(**subject, actor_token=actor, actor_token_type=ACCESS_TOKEN)
    said = session("api").introspect_token(
        METADATA["introspection_endpoint"], given["access_token"]
    )
    assert said.json()["act"] == {"sub": f"client|{CLIENTS['exchanger']['id']}"}
    refused("invalid_target", client.fetch_token, **subject, audience="profile")


@case("revocation")
def _():
    for kind in ["refresh_token", "access_token"]:
        client = sign_in("native")
        answer = client.revoke_token(
            METADATA["revocation_endpoint"], client.token[kind], token_type_hint=kind
        )
        assert (answer.status_code, answer.text) == (200, ""), kind
        assert call("/api/orders", client.token["access_token"]).status_code == 401, kind
        refused("invalid_grant", client.refresh_token)
    answer = session("inline").revoke_token(METADATA["revocation_endpoint"], "never a token")
    assert answer.status_code == 200


@case("introspection in JSON, and as a JWT that joserfc verifies")
def _():
    user = sign_in("native").token
    api = session("api")
    endpoint = METADATA["introspection_endpoint"]
    said = api.introspect_token(endpoint, user["access_token"]).json()
    assert said["active"] is True and said["sub"] == "demo|alice", said
    assert api.introspect_token(endpoint, user["refresh_token"]).json() == {"active": False}
    assert api.introspect_token(endpoint, "garbage").json() == {"active": False}

    keys = KeySet.import_key_set(requests.get(METADATA["jwks_uri"], timeout=30).json())
    for token, active in [(user["access_token"], True), ("garbage", False)]:
        headers = {
            "Accept": "application/token-introspection+jwt",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        answer = api.introspect_token(endpoint, token, headers=headers)
        assert answer.headers["content-type"] == "application/token-introspection+jwt"
        signed = jwt.decode(answer.text, keys, algorithms=[SUITE["alg"]])
        assert signed.header["typ"] == "token-introspection+jwt"
        assert signed.claims["iss"] == ISSUER
        assert signed.claims["aud"] == CLIENTS["api"]["id"]
        assert "sub" not in signed.claims and "exp" not in signed.claims
        assert signed.claims["token_introspection"]["active"] is active


run()
