"""Who uses the system: callers with HTTPS, a machine with its tokens, a service that verifies JWTs, and a
person who signs in at Cognito's hosted page in a browser."""

import base64
import html
import http.client
import json
import re
import ssl
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

import jwt
from stack import client

CSRF = {"X-CSRF": "1"}
COOKIE = "__Host-Http-cloakroom"


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    begun: float = 0.0

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def json(self) -> dict:
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def call(context: ssl.SSLContext, method: str, url: str, headers: dict | None = None, form: dict | None = None) -> Answer:
    """One request, on a connection of its own. No answer at all is status 0."""
    parts, begun = urllib.parse.urlsplit(url), time.monotonic()
    connection = http.client.HTTPSConnection(parts.hostname, parts.port or 443, timeout=30, context=context)
    body = urllib.parse.urlencode(form) if form is not None else None
    headers = dict(headers or {})
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, response.getheaders(), response.read(), begun)
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, [], repr(error).encode(), begun)
    finally:
        connection.close()


@dataclass
class System:
    """The system as its users see it: a URL, by default the one of the stack's output."""

    context: ssl.SSLContext
    url: str = ""

    def get(self, path: str, headers: dict | None = None) -> Answer:
        return call(self.context, "GET", self.url + path, headers)

    def post(self, path: str, form: dict | None = None, headers: dict | None = None) -> Answer:
        return call(self.context, "POST", self.url + path, headers, form if form is not None else {})

    def bearer(self, path: str, token: str) -> Answer:
        return self.get(path, {"Authorization": f"Bearer {token}"})

    def metadata(self) -> dict:
        return self.get("/.well-known/oauth-authorization-server").json()

    def keys(self) -> dict:
        """Published public keys by `kid`."""
        answer = self.get("/.well-known/jwks.json")
        return {key["kid"]: key for key in answer.json().get("keys", [])} if answer.status == 200 else {}


@dataclass
class Machine:
    """A client with `client_credentials`."""

    system: System
    id: str
    secret: str
    scope: str = "orders:read"

    def ask(self) -> Answer:
        basic = base64.b64encode(f"{self.id}:{self.secret}".encode()).decode()
        form = {"grant_type": "client_credentials", "scope": self.scope}
        return self.system.post("/oauth/token", form, {"Authorization": f"Basic {basic}"})

    def token(self) -> str:
        answer = self.ask()
        token = answer.json().get("access_token", "")
        if answer.status != 200 or not token:
            raise AssertionError(f"{self.id} gets no token: {answer.status} {answer.body[:300]!r}")
        return token

    def revoke(self, token: str) -> int:
        basic = base64.b64encode(f"{self.id}:{self.secret}".encode()).decode()
        return self.system.post("/oauth/revoke", {"token": token}, {"Authorization": f"Basic {basic}"}).status


@dataclass
class Service:
    """Verifies JWTs with keys that it reads through the API's URL and keeps for `keep` seconds, whatever `kid`
    comes: a service that asked again for each unknown key would hide a key that signs before it is published."""

    system: System
    keep: float = 2.0
    keys: dict = field(default_factory=dict)
    read: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def published(self) -> dict:
        with self.lock:
            if time.monotonic() - self.read > self.keep:
                found = self.system.keys()
                # An outage of the endpoint does not empty what a service holds.
                self.keys, self.read = found or self.keys, time.monotonic()
            return self.keys

    def fault(self, token: str, issuers: set[str], audience: str = "orders") -> str:
        """Why a JWT is refused, or nothing."""
        try:
            kid = jwt.get_unverified_header(token)["kid"]
            key = self.published().get(kid)
            if key is None:
                return f"its key {kid} is not among the {len(self.keys)} published"
            claims = jwt.decode(token, jwt.PyJWK(key).key, algorithms=[key["alg"]], audience=audience)
        except (jwt.PyJWTError, KeyError) as error:
            return repr(error)
        return "" if claims["iss"] in issuers else f"its issuer is {claims['iss']}"


class Browser:
    """Cookies by host, redirects and plain HTML forms."""

    def __init__(self, context: ssl.SSLContext):
        self.context = context
        self.cookies: dict[str, dict[str, str]] = {}

    def fetch(self, method: str, url: str, headers: dict | None = None, form: dict | None = None) -> Answer:
        host = urllib.parse.urlsplit(url).netloc
        jar = self.cookies.setdefault(host, {})
        headers = dict(headers or {})
        if jar:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
        if method != "GET":
            headers.setdefault("Origin", f"https://{host}")
        answer = call(self.context, method, url, headers, form)
        for name, value in answer.headers:
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                content = rest.split(";", 1)[0]
                if "max-age=0" in rest.lower().replace(" ", "") or not content:
                    jar.pop(key, None)
                else:
                    jar[key] = content
        return answer


@dataclass
class Person:
    """A user of the pool, with a browser."""

    system: System
    name: str
    password: str
    browser: Browser = field(init=False)

    def __post_init__(self):
        self.browser = Browser(self.system.context)

    def sign_in(self) -> list[str]:
        """Goes to the sign-in page and through it. Says each hop: `status method host/path`."""
        method, url, form = "GET", f"{self.system.url}/auth/login", None
        hops = []
        for _ in range(12):
            answer = self.browser.fetch(method, url, {"Accept": "text/html"}, form)
            parts = urllib.parse.urlsplit(url)
            hops.append(f"{answer.status} {method} {parts.netloc}{parts.path}")
            page = answer.body.decode(errors="replace")
            if to := answer.header("Location"):
                method, url, form = "GET", urllib.parse.urljoin(url, to), None
            elif found := re.search(r'http-equiv="refresh"\s+content="\d+;\s*url=([^"]*)"', page):
                method, url, form = "GET", urllib.parse.urljoin(url, html.unescape(found.group(1))), None
            elif 'name="password"' in page:
                action = re.search(r'<form[^>]*action="([^"]*)"', page).group(1)
                method, url, form = "POST", urllib.parse.urljoin(url, html.unescape(action)), self.fill(page)
            else:
                break
            if method == "GET" and self.session and url.rstrip("/") == self.system.url:
                break  # Signed in: what follows is the application's own page.
        return hops

    def fill(self, page: str) -> dict:
        fields = {}
        for tag in re.findall(r"<input[^>]*>", page):
            attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
            if "name" in attributes:
                fields[attributes["name"]] = html.unescape(attributes.get("value", ""))
        return fields | {"username": self.name, "password": self.password}

    @property
    def session(self) -> str:
        """The session cookie."""
        return self.browser.cookies.get(urllib.parse.urlsplit(self.system.url).netloc, {}).get(COOKIE, "")

    def plant(self, session: str) -> None:
        """Puts a session cookie into the browser, as somebody does who has stolen it."""
        self.browser.cookies.setdefault(urllib.parse.urlsplit(self.system.url).netloc, {})[COOKIE] = session

    def get(self, path: str, headers: dict = CSRF) -> Answer:
        return self.browser.fetch("GET", self.system.url + path, headers)

    def post(self, path: str, headers: dict = CSRF) -> Answer:
        return self.browser.fetch("POST", self.system.url + path, headers, {})


class Pool:
    """Cognito's user pool of this run: the identity provider."""

    def __init__(self):
        self.cognito = client("cognito-idp")
        self.id = self.cognito.create_user_pool(PoolName="people", AutoVerifiedAttributes=["email"])["UserPool"]["Id"]
        self.cognito.create_user_pool_domain(Domain="cloakroom-people", UserPoolId=self.id)
        self.cognito.create_group(GroupName="admin", UserPoolId=self.id)
        made = self.cognito.create_user_pool_client(
            UserPoolId=self.id,
            ClientName="cloakroom",
            GenerateSecret=True,
            AllowedOAuthFlows=["code"],
            AllowedOAuthFlowsUserPoolClient=True,
            AllowedOAuthScopes=["openid", "email", "profile"],
            SupportedIdentityProviders=["COGNITO"],
            CallbackURLs=["https://pending.invalid/auth/callback"],
        )["UserPoolClient"]
        self.client_id, self.secret = made["ClientId"], made["ClientSecret"]

    @property
    def issuer(self) -> str:
        return f"https://cognito-idp.us-east-1.amazonaws.com/{self.id}"

    def callback(self, url: str) -> None:
        """Registers the output `CallbackUrl`, as docs/deploy.md says."""
        self.cognito.update_user_pool_client(
            UserPoolId=self.id,
            ClientId=self.client_id,
            AllowedOAuthFlows=["code"],
            AllowedOAuthFlowsUserPoolClient=True,
            AllowedOAuthScopes=["openid", "email", "profile"],
            SupportedIdentityProviders=["COGNITO"],
            CallbackURLs=[url],
        )

    def add(self, name: str, password: str, full_name: str, *groups: str) -> None:
        attributes = [
            {"Name": "email", "Value": f"{name}@example.com"},
            {"Name": "email_verified", "Value": "true"},
            {"Name": "name", "Value": full_name},
        ]
        self.cognito.admin_create_user(
            UserPoolId=self.id, Username=name, UserAttributes=attributes, MessageAction="SUPPRESS"
        )
        self.cognito.admin_set_user_password(UserPoolId=self.id, Username=name, Password=password, Permanent=True)
        for group in groups:
            self.cognito.admin_add_user_to_group(UserPoolId=self.id, Username=name, GroupName=group)

    def rename(self, name: str, full_name: str) -> None:
        self.cognito.admin_update_user_attributes(
            UserPoolId=self.id, Username=name, UserAttributes=[{"Name": "name", "Value": full_name}]
        )
