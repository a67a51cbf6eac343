#!/usr/bin/env python3
"""Smoke suite for a running system: signs in, gets tokens, calls the API, revokes, measures, and
answers by measurement what the documentation of AWS leaves open.

    CLOAKROOM_CLIENT_SECRET=… tests/live/smoke.py --url https://app.example.com --client billing

It needs Python alone, uses tokens of its own and revokes them. `make test` runs all of it against the
local system. Exit codes: 0 all good, 1 something is not, 2 wrong usage.
"""

import argparse
import base64
import binascii
import hashlib
import html
import http.client
import http.server
import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.parse
from dataclasses import dataclass

TIMEOUT = 30
# Each is sent in three spellings: of a REST API's mapping AWS says that it minds the case of a name.
FORGED = [
    "Cookie",
    "Remote-User",
    "X-Amzn-Oidc-Data",
    "X-Cloakroom-Jwt",
    "X-Cloakroom-Token",
    "X-Cloakroom-Viewer",
    "X-Forwarded-User",
    "X-Internal-Token",
    "X-Origin-Verify",
    "X-Remote-User",
    "X-User-Id",
    "X-User-Roles",
    "X_User_Id",
]
FORGERY = "canary=forged"
SPELLINGS = {"as written": str, "in lower case": str.lower, "in upper case": str.upper}
# What carries the JWT: an HTTP API hands it on as X-Cloakroom-Jwt.
CARRIERS = ("authorization", "x-cloakroom-jwt")


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    seconds: float

    def header(self, name: str) -> str | None:
        return next((value for one, value in self.headers if one.lower() == name.lower()), None)

    def json(self) -> dict:
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class Http:
    """Keeps its connections, so that what is measured is not their opening."""

    def __init__(self):
        self.connections = {}

    def __call__(self, method: str, url: str, headers: dict | None = None, form: dict | None = None) -> Answer:
        parts = urllib.parse.urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = dict(headers or {})
        body = None
        if form is not None:
            body = urllib.parse.urlencode(form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        for attempt in (1, 2):
            connection = self.connections.get((parts.scheme, parts.netloc)) or self.open(parts)
            begun = time.perf_counter()
            try:
                connection.request(method, target, body=body, headers=headers)
                response = connection.getresponse()
                content = response.read()
                break
            except (http.client.HTTPException, ConnectionError):
                # A server may close what was idle.
                connection.close()
                self.connections.pop((parts.scheme, parts.netloc), None)
                if attempt == 2:
                    raise
        return Answer(response.status, response.getheaders(), content, time.perf_counter() - begun)

    def open(self, parts):
        kind = {"https": http.client.HTTPSConnection, "http": http.client.HTTPConnection}[parts.scheme]
        connection = kind(parts.netloc, timeout=TIMEOUT)
        self.connections[(parts.scheme, parts.netloc)] = connection
        return connection


class Report:
    def __init__(self):
        self.checks = []
        self.figures = {}
        self.answers = {}

    def check(self, name: str, ok: bool, detail: object = "") -> bool:
        self.checks.append({"check": name, "ok": bool(ok), "detail": str(detail)})
        return bool(ok)

    def figure(self, name: str, samples: list[float]) -> None:
        samples = sorted(samples)
        at = lambda percent: samples[max(0, -(-len(samples) * percent // 100) - 1)] * 1000  # noqa: E731
        self.figures[name] = {"p50_ms": round(at(50), 1), "p99_ms": round(at(99), 1), "samples": len(samples)}

    def answer(self, question: str, found: object) -> None:
        self.answers[question] = found

    @property
    def ok(self) -> bool:
        return all(check["ok"] for check in self.checks)

    def show(self, as_json: bool) -> None:
        if as_json:
            found = {"ok": self.ok, "checks": self.checks, "latencies": self.figures, "open points": self.answers}
            print(json.dumps(found, indent=2))
            return
        for check in self.checks:
            print(f"{'ok  ' if check['ok'] else 'FAIL'}  {check['check']}{': ' if check['detail'] else ''}{check['detail']}")
        print()
        for name, figure in self.figures.items():
            print(f"{name:<44} p50 {figure['p50_ms']:>8} ms   p99 {figure['p99_ms']:>8} ms   of {figure['samples']}")
        print()
        for question, found in self.answers.items():
            print(f"{question}: {found}")


class Suite:
    def __init__(self, options):
        self.options = options
        self.http = Http()
        self.report = Report()
        self.secret = os.environ["CLOAKROOM_CLIENT_SECRET"]

    def at(self, path: str) -> str:
        return self.options.url.rstrip("/") + path

    def basic(self, secret: str | None = None) -> dict:
        quote = lambda text: urllib.parse.quote_plus(text)  # noqa: E731
        pair = f"{quote(self.options.client)}:{quote(self.secret if secret is None else secret)}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def token(self) -> str:
        form = {"grant_type": "client_credentials"}
        if self.options.scope:
            form["scope"] = self.options.scope
        answer = self.http("POST", self.at("/oauth/token"), self.basic(), form)
        token = answer.json().get("access_token", "")
        if answer.status != 200 or not re.fullmatch(r"cr_at_[A-Za-z0-9_-]{64}[0-9A-Za-z]{6}", token):
            # Never the body: it may hold a token after all.
            self.report.check("a machine gets a token", False, answer.status)
            raise Stop
        return token

    def call(self, path: str, token: str | None, more: dict | None = None) -> Answer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.http("GET", self.at(path), headers | (more or {}))

    def revoke(self, token: str, form: dict | None = None) -> Answer:
        headers = {} if form else self.basic()
        return self.http("POST", self.at("/oauth/revoke"), headers, {"token": token} | (form or {}))

    # --- what must hold

    def published(self) -> None:
        keys = self.http("GET", self.at("/.well-known/jwks.json"))
        self.report.check("public keys", keys.status == 200 and keys.json().get("keys"), keys.status)
        metadata = self.http("GET", self.at("/.well-known/oauth-authorization-server"))
        issuer = metadata.json().get("issuer")
        self.report.check("the issuer is this URL", issuer == self.options.url.rstrip("/"), issuer)

    def machine(self) -> None:
        check = self.report.check
        token = self.token()
        check("a machine gets a token", True)
        none = self.call(self.options.path, None)
        challenge = none.header("WWW-Authenticate") or ""
        check("without a token it is 401", none.status == 401, none.status)
        check("and says what is wanted", challenge.startswith("Bearer"), challenge or "no WWW-Authenticate")
        good = self.call(self.options.path, token)
        check("with a token it is 200", good.status == 200, good.status)
        bad = self.call(self.options.path, unknown_token())
        check("with a token that nobody issued it is 401", bad.status == 401, bad.status)
        self.report.answer("an unknown token, thrown by the authorizer, is answered with", bad.status)
        # CloudFront would keep an error by its path alone, whatever it says.
        nowhere = f"{self.options.path}/{secrets.token_hex(8)}"
        refused, anonymous = self.call(nowhere, token).status, self.call(nowhere, None).status
        check("one's error is not another's", (refused, anonymous) == (403, 401), f"{refused}, then {anonymous}")
        if self.options.forbidden_path:
            # The answer for one route must not decide another (specs: identity sources).
            between = self.call(self.options.forbidden_path, token)
            again = self.call(self.options.path, token)
            separate = (between.status, again.status) == (403, 200)
            check("a verdict is for one route", separate, f"{between.status}, then {again.status}")
            self.report.answer("answers are kept per token, method and resource", "yes" if separate else "NO")
        if self.options.echo_path:
            self.echo(token)
        self.dead_after_revoke(token)

    def echo(self, token: str) -> None:
        for spelling, spelled in SPELLINGS.items():
            headers = {spelled("Authorization"): f"Bearer {token}"} | {spelled(name): FORGERY for name in FORGED}
            seen = self.http("GET", self.at(self.options.echo_path), headers)
            received = {name.lower(): values for name, values in seen.json().get("received_digests", {}).items()}
            check = lambda name, ok, detail="": self.report.check(f"{name}, {spelling}", ok, detail)  # noqa: E731
            if not check("the service shows what it received", seen.status == 200 and received, seen.status):
                continue
            holding = lambda *values: sorted(  # noqa: E731
                name for name, found in received.items() if {digest(value) for value in values} & set(found)
            )
            forged = holding(FORGERY)
            check("nothing forged reaches a service", not forged, ", ".join(forged))
            opaque = holding(token, f"Bearer {token}")
            check("the opaque token reaches no service", not opaque, ", ".join(opaque))
            full = [name for name in CARRIERS for value in received.get(name, []) if value != digest("")]
            check("the JWT arrives once", len(full) == 1, ", ".join(full))
            self.report.answer("a blanked Cookie arrives", "as an empty header" if "cookie" in received else "not at all")

    def dead_after_revoke(self, token: str) -> None:
        answer = self.revoke(token)
        if not self.report.check("a token is revoked", answer.status == 200, answer.status):
            return
        begun = time.monotonic()
        limit = self.options.max_latency + 5
        while (status := self.call(self.options.path, token).status) == 200 and time.monotonic() - begun < limit:
            time.sleep(0.25)
        took = time.monotonic() - begun
        self.report.check("and refused in time", status == 401 and took <= self.options.max_latency + 1, f"{status} after {took:.1f} s")

    def challenges(self) -> None:
        answer = self.http("POST", self.at("/oauth/token"), self.basic("wrong"), {"grant_type": "client_credentials"})
        self.report.check("a wrong secret is 401", answer.status == 401, answer.status)
        names = {name.lower() for name, _ in answer.headers}
        own, renamed = "www-authenticate" in names, "x-amzn-remapped-www-authenticate" in names
        self.report.answer(
            "WWW-Authenticate of a function arrives", "as it is" if own else "renamed" if renamed else "not at all"
        )

    def closed(self) -> None:
        try:
            direct = self.http("GET", self.options.direct.rstrip("/") + self.options.path)
        except OSError as error:
            self.report.check("the API's own hostname is closed", True, type(error).__name__)
            return
        self.report.check("the API's own hostname is closed", direct.status in (403, 404), direct.status)

    # --- a person, by a native app's flow with a loopback redirect

    def person(self) -> None:
        check = self.report.check
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        state = secrets.token_urlsafe(16)
        with Landing() as landing:
            query = {
                "response_type": "code",
                "client_id": self.options.native_client,
                "redirect_uri": landing.uri,
                "scope": self.options.native_scope,
                "state": state,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            }
            url = self.at("/oauth/authorize") + "?" + urllib.parse.urlencode(query)
            user = os.environ.get("CLOAKROOM_SMOKE_USER")
            if user:
                landing.arrived = Person(user, os.environ.get("CLOAKROOM_SMOKE_PASSWORD", "")).visit(url, landing.uri)
            else:
                print(f"Open this, and sign in:\n\n  {url}\n", file=sys.stderr)
                landing.wait()
        arrived = {name: values[0] for name, values in urllib.parse.parse_qs(landing.arrived).items()}
        check("a person signs in", "code" in arrived and arrived.get("state") == state, arrived.get("error", ""))
        if "code" not in arrived:
            return
        client = {"client_id": self.options.native_client}
        redeemed = self.http(
            "POST",
            self.at("/oauth/token"),
            form=client
            | {
                "grant_type": "authorization_code",
                "code": arrived["code"],
                "redirect_uri": landing.uri,
                "code_verifier": verifier,
            },
        )
        pair = redeemed.json()
        if not check("a code becomes tokens", redeemed.status == 200 and "access_token" in pair, redeemed.status):
            return
        good = self.call(self.options.path, pair["access_token"])
        check("a person's token is 200", good.status == 200, good.status)
        if "refresh_token" in pair:
            refreshed = self.http(
                "POST",
                self.at("/oauth/token"),
                form=client | {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]},
            )
            check("tokens are refreshed", refreshed.status == 200, refreshed.status)
            pair = refreshed.json() if refreshed.status == 200 else pair
        revoked = self.revoke(pair.get("refresh_token", pair["access_token"]), client)
        check("a person's tokens are revoked", revoked.status == 200, revoked.status)

    # --- what it costs in time

    def measure(self) -> None:
        count = self.options.samples
        self.report.figure("public keys (no authorizer)", [self.timed("/.well-known/jwks.json") for _ in range(count)])
        tokens = [self.token() for _ in range(count)]
        self.report.figure(
            "API, first use of a token (read, Sign, write)",
            [self.timed(self.options.path, token) for token in tokens],
        )
        token = tokens[0]
        self.report.figure("API, the same token again", [self.timed(self.options.path, token) for _ in range(count)])
        self.report.figure(
            "API, a token that nobody issued (one read)",
            [self.timed(self.options.path, unknown_token(), 401) for _ in range(count)],
        )
        for one in tokens:
            self.revoke(one)

    def timed(self, path: str, token: str | None = None, expected: int = 200) -> float:
        answer = self.call(path, token)
        if answer.status != expected:
            self.report.check(f"every measured answer of {path} is {expected}", False, answer.status)
            raise Stop
        return answer.seconds

    def metrics(self) -> None:
        """What the stack's functions have measured themselves, by the `aws` command's credentials."""
        now = int(time.time())
        for metric, name in (("KmsMillis", "KMS, as the authorizer saw it"), ("StoreMillis", "DynamoDB, likewise")):
            command = ["aws", "cloudwatch", "get-metric-statistics", "--namespace", "Cloakroom"]
            command += ["--metric-name", metric, "--dimensions"]
            command += [f"Name=stack,Value={self.options.stack}", "Name=function,Value=authorizer"]
            command += ["--start-time", str(now - 3600), "--end-time", str(now), "--period", "3600"]
            command += ["--extended-statistics", "p50", "p99", "--output", "json"]
            try:
                output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
                points = json.loads(output)["Datapoints"]
            except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
                self.report.answer(name, f"not known: {type(error).__name__}")
                continue
            if points:
                found = points[-1]["ExtendedStatistics"]
                self.report.answer(name, f"p50 {found['p50']:.1f} ms, p99 {found['p99']:.1f} ms in the last hour")
            else:
                self.report.answer(name, "nothing in the last hour")

    def run(self) -> bool:
        try:
            self.published()
            self.machine()
            self.challenges()
            if self.options.native_client:
                self.person()
            if self.options.direct:
                self.closed()
            if self.options.samples:
                self.measure()
            if self.options.stack:
                self.metrics()
        except Stop:
            pass
        except OSError as error:
            self.report.check("the system can be reached", False, type(error).__name__)
        self.report.show(self.options.json)
        return self.report.ok


class Stop(Exception):
    """What follows would only repeat a failure that is in the report."""


def digest(value: str) -> str:
    """As the service shows a header's value."""
    return hashlib.sha256(value.encode()).hexdigest()[:8]


ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def unknown_token() -> str:
    """A token of the right shape and checksum that nobody has issued."""
    body = "cr_at_" + base64.urlsafe_b64encode(secrets.token_bytes(48)).decode()
    checksum, digits = binascii.crc32(body.encode()), ""
    for _ in range(6):
        checksum, digit = divmod(checksum, 62)
        digits = ALPHABET[digit] + digits
    return body + digits


class Landing:
    """Where the browser comes back to: a free port on this machine."""

    def __init__(self):
        landing = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802
                landing.arrived = urllib.parse.urlsplit(self.path).query
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.end_headers()
                self.wfile.write(b"Done. Go back to the terminal.\n")

            def log_message(self, *_):
                """The code is in the URL."""

        self.arrived = ""
        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server.server_port}/callback"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.server_close()

    def wait(self) -> None:
        self.server.timeout = 300
        self.server.handle_request()


class Person:
    """Fills in plain HTML forms, as the demo provider has them; for a test account alone."""

    def __init__(self, user: str, password: str):
        self.known = {"username": user, "password": password, "decision": "allow"}
        self.cookies = {}
        self.http = Http()

    def visit(self, url: str, landing: str) -> str:
        """The query with which the browser arrives at `landing`."""
        method, form = "GET", None
        for _ in range(20):
            parts = urllib.parse.urlsplit(url)
            jar = self.cookies.setdefault(parts.netloc, {})
            headers = {"Accept": "text/html", "Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
            if form is not None:
                headers["Origin"] = f"{parts.scheme}://{parts.netloc}"
            answer = self.http(method, url, {name: value for name, value in headers.items() if value}, form)
            for name, value in answer.headers:
                if name.lower() == "set-cookie":
                    key, _, rest = value.partition("=")
                    jar[key] = rest.split(";", 1)[0]
            page = answer.body.decode(errors="replace")
            method, form = "GET", None
            if to := answer.header("Location"):
                url = urllib.parse.urljoin(url, to)
            elif found := re.search(r'http-equiv="refresh"\s+content="\d+;\s*url=([^"]*)"', page):
                url = urllib.parse.urljoin(url, html.unescape(found.group(1)))
            elif found := re.search(r'<form[^>]*method="post"[^>]*action="([^"]*)"|<form[^>]*action="([^"]*)"', page):
                url = urllib.parse.urljoin(url, html.unescape(found.group(1) or found.group(2)))
                method, form = "POST", self.fill(page)
            else:
                return ""
            if url.startswith(landing + "?"):
                return urllib.parse.urlsplit(url).query
        return ""

    def fill(self, page: str) -> dict:
        fields = {}
        for tag in re.findall(r"<(?:input|button)[^>]*>", page):
            attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
            if name := attributes.get("name"):
                fields.setdefault(name, html.unescape(attributes.get("value", "")))
        return fields | {name: value for name, value in self.known.items() if name in fields}


def options(arguments: list[str]):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--url", required=True, help="where the system is: its issuer")
    parser.add_argument("--client", required=True, help="a client with client_credentials; its secret is in CLOAKROOM_CLIENT_SECRET")
    parser.add_argument("--scope", default="", help="what it asks for")
    parser.add_argument("--path", default="/api/orders", help="a route that it may call")
    parser.add_argument("--forbidden-path", help="a route that it may not call")
    parser.add_argument("--echo-path", help="a route whose service answers with `received_digests`: for each header's name, a list with the first 8 hexadecimal digits of the SHA-256 of each value")
    parser.add_argument("--native-client", help="a public client with a loopback redirect: then a person signs in, in a browser, or as CLOAKROOM_SMOKE_USER with CLOAKROOM_SMOKE_PASSWORD")
    parser.add_argument("--native-scope", default="openid profile offline_access")
    parser.add_argument("--direct", help="the API's own URL, which must be closed")
    parser.add_argument("--max-latency", type=float, default=60, help="revocation.max_latency")
    parser.add_argument("--samples", type=int, default=50, help="calls per figure; 0 measures nothing")
    parser.add_argument("--stack", help="also asks CloudWatch, by the aws command, what this stack has measured")
    parser.add_argument("--json", action="store_true")
    found = parser.parse_args(arguments)
    if not os.environ.get("CLOAKROOM_CLIENT_SECRET"):
        parser.error("CLOAKROOM_CLIENT_SECRET is not set")
    return found


if __name__ == "__main__":
    sys.exit(0 if Suite(options(sys.argv[1:])).run() else 1)
