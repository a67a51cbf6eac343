"""One template's life on the emulated cloud. `run.py` starts it in namespaces of its own."""

import argparse
import base64
import hashlib
import json
import sys
import time
import traceback
from pathlib import Path

import jwt
import translated
from adaptations import EMULATOR, Adaptations
from openapi import INTEGRATION
from people import Machine, Person, Pool, Service, System
from stack import Stack, client
from traffic import Traffic
from world import API_HOST, BACKENDS, World

SECRET = "/cloakroom/idp"
CONFIGURATION = """config_version = 1
issuer = "https://pending.invalid"
edge = "cloudfront"

[revocation]
max_latency = {max_latency}

[jwt]
mode = "{mode}"

[session]
scopes = ["orders:read"]

[[identity_providers]]
id = "company"
name = "Company"
issuer = "{issuer}"
client_id = "{client_id}"
client_secret = "ssm:/cloakroom/idp"
require_pkce_metadata = false
claims_max_age = 30
claims_max_stale = 86400
[identity_providers.claims]
roles = "/cognito:groups"
allow_roles = ["admin"]

{clients}
[[audiences]]
id = "orders"
resource = "https://api.example.com/orders"
claims = ["name", "email", "roles"]

{routes}"""


# Of the calls of a step, how many may fail while the emulator stands still.
STALLED = 0.1


class Failed(Exception):
    """Something was observed that must not be."""


def until(what: str, ask, seconds: float = 15):
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        if time.monotonic() > deadline:
            raise Failed(what)
        time.sleep(0.1)
    return found


def expect(what: str, found, wanted) -> None:
    if found != wanted:
        raise Failed(f"{what}: {found!r}, not {wanted!r}")


class Life:
    """The stack, who uses it, and what was observed. A step is a method of `steps.py`."""

    def __init__(self, kind: str, folder: Path, without: str):
        self.kind = kind
        self.folder = folder
        self.without = without
        self.rows: list[dict] = []
        self.failures: list[str] = []
        self.adaptations = Adaptations(kind)
        self.begun = time.monotonic()
        self.latency = 2
        self.mode = "kms"
        self.clients: dict[str, str] = {"machine": "a-secret-of-the-machine"}
        self.routes = [("/api/orders", ""), ("/api/reports", 'token = "user"\nroles = ["admin"]\n')]

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.begun:5.0f} s  {text}", flush=True)

    def adapt(self, template: dict) -> dict:
        """The template for the emulator, and without what `--without` takes away."""
        return self.adaptations(translated.take_away(template, self.without))

    def written(self) -> dict:
        """The template as an operator has it, and without what `--without` takes away."""
        return translated.take_away(json.loads(json.dumps(self.stack.template)), self.without)

    def prepare(self, world: World) -> None:
        """What is there before the stack: bucket, certificate, identity provider with its people, secret."""
        self.world = world
        client("s3").create_bucket(Bucket="deployments")
        certificates = world.certificates
        self.certificate = client("acm").import_certificate(
            Certificate=certificates.certificate, PrivateKey=certificates.key, CertificateChain=certificates.ca
        )["CertificateArn"]
        self.pool = Pool()
        self.pool.add("alice", "Correct-Horse-1", "Alice Example")
        self.pool.add("bob", "Correct-Horse-2", "Bob Example", "admin")
        client("ssm").put_parameter(Name=SECRET, Type="SecureString", Value=self.pool.secret)
        self.stack = self.new_stack("cloakroom")
        # Whoever has other routes in the template keeps them; the life needs these two.
        for path, _ in self.routes:
            self.template_route(path)
        self.system = System(world.context)
        self.machine = Machine(self.system, "machine", self.clients["machine"])
        self.service = Service(self.system)
        self.traffic = Traffic(self.system, self.machine, self.service, self.stack)
        self.alice = Person(self.system, "alice", "Correct-Horse-1")

    def new_stack(self, name: str) -> Stack:
        folder = self.folder / name
        folder.mkdir()
        stack = Stack(self.kind, folder, name, self.adapt, self.say)
        stack.parameters = {
            "BackendUrl": f"https://{BACKENDS[0]}",
            "OriginDomainName": API_HOST,
            "OriginCertificateArn": self.certificate,
            "Architecture": "x86_64",
            "AuthorizerTtl": str(self.latency // 2),
            "DeletionProtection": "false",
        }
        return stack

    def configure(self) -> None:
        """Writes cloakroom.toml."""
        clients = "".join(
            f'[[clients]]\nid = "{name}"\nkind = "confidential"\nsecrets = ["{hashed(secret)}"]\n'
            'grants = ["client_credentials"]\nscopes = ["orders:read"]\n\n'
            for name, secret in self.clients.items()
        )
        routes = "".join(
            f'[[routes]]\nmethod = "GET"\npath = "{path}"\naudience = "orders"\n{more}\n' for path, more in self.routes
        )
        self.stack.configuration = CONFIGURATION.format(
            max_latency=self.latency,
            mode=self.mode,
            issuer=self.pool.issuer,
            client_id=self.pool.client_id,
            clients=clients,
            routes=routes,
        )

    def deploy(self, **parameters) -> None:
        """Changes parameters and deploys, as an operator does."""
        self.stack.parameters |= {name: str(value) for name, value in parameters.items()}
        self.configure()
        took = self.stack.deploy()
        self.say(f"deployed in {took:.0f} s")

    # --- what steps do and look at

    def sign_in(self, person: Person) -> list[str]:
        """Signs a person in, and has traffic call with this session if it is Alice's."""
        if person is self.alice:
            self.traffic.person = None
        person.browser.cookies.clear()
        hops = person.sign_in()
        if not person.session:
            raise Failed(f"no session: {hops}")
        if person is self.alice:
            self.signed_in = time.monotonic()
            self.traffic.person_state = "good"
            self.traffic.person = person
        return hops

    def another_person(self) -> Person:
        """Bob, in a browser that nobody has used."""
        return Person(self.system, "bob", "Correct-Horse-2")

    def refused_within(self, token: str) -> float:
        """Waits until a token is refused, no longer than the configuration promises; answers after how long."""
        begun = time.monotonic()
        limit = max(self.latency, 5) + 1.5
        until("the token is refused", lambda: self.traffic.is_refused(self.system.bearer("/api/orders", token), token), limit)
        return time.monotonic() - begun

    def lives_after_revoke(self) -> float:
        """For how many seconds a token works that is in use when it is revoked."""
        token = self.machine.token()
        expect("a call", self.system.bearer("/api/orders", token).status, 200)
        expect("revoking", self.machine.revoke(token), 200)
        begun = time.monotonic()
        until("the token is refused", lambda: self.system.bearer("/api/orders", token).status != 200, self.latency + 2)
        return time.monotonic() - begun

    def kid(self, token: str) -> str:
        """Which key signed what alias `live` answers for a token."""
        status, granted = self.stack.authorize(token)
        expect("alias live", status, 200)
        return jwt.get_unverified_header(granted)["kid"]

    def logged(self, function: str) -> str:
        """What a function has written to its log."""
        name = f"/aws/lambda/{self.stack.name}-{function}"
        pages = client("logs").get_paginator("filter_log_events").paginate(logGroupName=name)
        return "\n".join(event["message"] for page in pages for event in page["events"])

    def program(self, function: str, old: bytes, new: bytes) -> None:
        """Another program in the place of a function's."""
        content = self.stack.bootstrap(function)
        if old not in content:
            raise Failed(f"{old!r} is not in the program of {function}")
        place = self.folder / f"{function}-bootstrap"
        place.write_bytes(content.replace(old, new))
        self.stack.bootstraps[function] = place

    def template_route(self, path: str) -> None:
        """A route as docs/deploy.md says: a copy of one that is there, with another path and `uri`."""
        paths = self.stack.template["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"]
        model = next(
            name
            for name, item in paths.items()
            if item.get("get", {}).get("security") and item["get"][INTEGRATION]["type"] == "http_proxy"
        )
        paths.setdefault(path, json.loads(json.dumps(paths[model]).replace(model, path)))

    def step(self, name: str, run) -> bool:
        """Runs a step under traffic, and writes its row."""
        self.say(f"{name} …")
        begun = time.monotonic()
        self.traffic.begin()
        failed = ""
        try:
            how, what = run(self)
        except Exception as error:  # noqa: BLE001
            how, what = "FAILED", str(error).strip().splitlines()[-1][:200] if str(error).strip() else repr(error)
            failed = str(error) if isinstance(error, Failed) else traceback.format_exc()
        counted = self.traffic.end()
        wrong, refused = sum(counted.wrong.values()), sum(counted.refused.values())
        self.rows.append(
            {
                "template": self.kind,
                "step": name,
                "how": how,
                "what": what,
                "calls": counted.calls,
                "wrong": wrong,
                "refused": refused,
                "stalled": sum(counted.stalled.values()),
                "seconds": round(time.monotonic() - begun),
            }
        )
        self.say(f"{name}: {how}: {what}; {counted.calls} calls, {counted.jwts} JWTs, {wrong} wrong, {refused} refused")
        if failed:
            self.failures.append(f"{name}: {failed}")
        if sum(counted.stalled.values()) > STALLED * max(counted.calls, 20):
            self.failures.append(f"{name}: the emulator stood still too often to judge: {dict(counted.stalled)}")
        for kind, counts in (("wrong", counted.wrong), ("refused", counted.refused)):
            for said, count in counts.most_common(4):
                self.failures.append(f"{name}: {kind}: {count} × {said}")
        return not failed

    def result(self) -> dict:
        return {
            "template": self.kind,
            "rows": self.rows,
            "failures": self.failures,
            "adaptations": {one.name: f"{one.reason} [{EMULATOR}]" for one in self.adaptations.mine},
        }


def hashed(secret: str) -> str:
    """A client's secret, as cloakroom.toml keeps it."""
    return "sha256:" + base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).decode().rstrip("=")


def main() -> int:
    import steps

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--template", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--emulator", type=Path, required=True)
    parser.add_argument("--steps", default="")
    parser.add_argument("--without", default="")
    options = parser.parse_args()
    life = Life(options.template, options.folder, options.without)
    try:
        with World(options.folder, options.emulator) as world:
            life.prepare(world)
            life.say("the emulator runs")
            for name, run in steps.chosen(options.steps, life):
                if not life.step(name, run) and name in steps.NEEDED:
                    break
            life.traffic.stop()
            # Last, because a gap that closed explains what went wrong before.
            life.failures += life.adaptations.check()
    except BaseException:
        life.failures.append(traceback.format_exc())
    if life.failures:
        log = (options.folder / "emulator.log").read_text(errors="replace") if (options.folder / "emulator.log").exists() else ""
        life.say("the emulator said last:\n" + log[-3000:])
    (options.folder / "result.json").write_text(json.dumps(life.result()))
    return 1 if life.failures else 0


if __name__ == "__main__":
    # By its name, so that it is one module for the steps too.
    import life

    sys.exit(life.main())
