"""A client that calls all the time, and knows for each call what the answer must be."""

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from people import CSRF, Answer, Machine, Person, Service, System
from stack import Stack
from world import PORT

PAUSE = 0.05
# No token of ours: right shape, wrong checksum.
FORGED = "cr_at_" + "A" * 70


@dataclass
class Step:
    """What was counted while a step ran."""

    calls: int = 0
    jwts: int = 0
    wrong: Counter = field(default_factory=Counter)
    refused: Counter = field(default_factory=Counter)
    stalled: Counter = field(default_factory=Counter)


@dataclass
class Token:
    """A token, and whether it must work: `good`, `dead`, or `either` while that changes."""

    value: str
    state: str = "good"


class Pulse:
    """Asks the emulator for nothing much, again and again, and keeps when it took longer than a function waits for
    DynamoDB or KMS (800 ms). A function that answers 5xx just then says nothing about the deploy: the emulator is one
    Python program, and stands still while it transforms a template on a busy machine."""

    SLOW = 0.6

    def __init__(self):
        self.slow: list[tuple[float, float]] = []
        self.since = 0.0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        headers = {"X-Amz-Target": "DynamoDB_20120810.ListTables", "Content-Type": "application/x-amz-json-1.0"}
        while not self.stopping.is_set():
            self.since = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("POST", "/", "{}", headers)
                connection.getresponse().read()
            connection.close()
            now = time.monotonic()
            if now - self.since > self.SLOW:
                self.slow.append((self.since, now))
            self.since = 0.0
            time.sleep(0.1)

    def stood_still(self, begun: float) -> bool:
        """Whether the emulator stood still at some time since `begun`."""
        deadline = time.monotonic() + 5
        while self.since and time.monotonic() < deadline:
            time.sleep(0.05)
        return any(end > begun for _, end in self.slow[-20:])


class Traffic:
    """Calls in `THREADS` threads from `start` to `stop`. The life tells it when a token stops being good."""

    THREADS = 2

    def __init__(self, system: System, machine: Machine, service: Service, stack: Stack):
        self.system, self.machine, self.service, self.stack = system, machine, service, stack
        self.person: Person | None = None
        self.person_state = "good"
        self.tokens: list[Token] = []
        self.revoked: list[Token] = []
        # JWTs may name either while the issuer changes.
        self.issuers: set[str] = set()
        # 503 is an answer that is allowed now: the documentation announces an interruption.
        self.interrupted = False
        self.announced = 0
        self.step = Step()
        self.pulse = Pulse()
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads: list[threading.Thread] = []

    # --- what the life says

    def start(self) -> None:
        self.tokens = [Token(self.machine.token()) for _ in range(3)]
        gone = Token(self.machine.token(), "dead")
        assert self.machine.revoke(gone.value) == 200
        self.revoked = [gone]
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True) for number in range(self.THREADS)]
        for thread in [self.pulse.thread, *self.threads]:
            thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self.pulse.stopping.set()
        for thread in self.threads:
            thread.join(60)
        self.threads = []

    def begin(self) -> None:
        """A step begins: counts from nothing."""
        with self.lock:
            self.step = Step()

    def end(self) -> Step:
        """A step ends. Waits until each thread has been round once more."""
        with self.lock:
            seen = self.step.calls
        for _ in range(200):
            if self.step.calls >= seen + 10 or not self.threads:
                break
            time.sleep(0.05)
        return self.step

    def all(self, state: str) -> None:
        """What becomes of everything that was issued so far."""
        for token in self.tokens:
            token.state = state
        self.person_state = state

    def renew(self) -> None:
        """Takes new tokens in the place of the old; those that are dead are kept as such."""
        fresh = [Token(self.machine.token()) for _ in range(3)]
        with self.lock:
            self.revoked = (self.revoked + [token for token in self.tokens if token.state == "dead"])[-6:]
            self.tokens = fresh

    @contextlib.contextmanager
    def interruption(self):
        """While it lasts, the documentation announces that some calls fail. They are counted all the same."""
        self.announced, self.interrupted = 0, True
        try:
            yield lambda: self.announced
        finally:
            self.interrupted = False

    # --- calls

    def run(self, number: int) -> None:
        turns = [self.good, self.issue, self.good, self.dead, self.good, self.forbidden, self.good, self.browse]
        turn = number * 3
        while not self.stopping.is_set():
            try:
                turns[turn % len(turns)](turn)
            except Exception as error:  # noqa: BLE001
                self.note("wrong", f"the caller itself failed: {error!r}")
            turn += 1
            time.sleep(PAUSE)

    def note(self, kind: str, what: str) -> None:
        with self.lock:
            getattr(self.step, kind)[what] += 1

    def judge(self, what: str, answer: Answer, expected: set[int]) -> bool:
        """Counts an answer. True if it is what was expected."""
        with self.lock:
            self.step.calls += 1
        if answer.status in expected:
            return True
        told = answer.body[:120].decode(errors="replace")
        refused = 400 <= answer.status < 500 and 200 in expected
        told = f"{what}: {answer.status}, not {sorted(expected)}: {told}"
        self.fault("refused" if refused else "wrong", told, answer)
        return False

    def fault(self, kind: str, what: str, answer: Answer | None = None) -> None:
        """Notes what must not be. During an announced interruption it is only counted, unless something was allowed;
        and a 5xx is the emulator's while that stood still."""
        if kind == "allowed":
            self.note("wrong", what)
        elif self.interrupted:
            with self.lock:
                self.announced += 1
        elif answer and (answer.status >= 500 or answer.status == 0) and self.pulse.stood_still(answer.begun):
            self.note("stalled", what)
        else:
            self.note(kind, what)

    def is_refused(self, answer: Answer, token: str, scheme: str = "Bearer") -> bool:
        """Whether a token is refused with 401. The emulated HTTP API makes 500 of a thrown `Unauthorized`
        (adaptation `thrown-unauthorized`): there alias `live` says which it was."""
        if self.stack.kind == "http" and answer.status == 500:
            return self.stack.authorize(token, scheme)[0] == 401
        return answer.status == 401

    def must_be_refused(self, what: str, token: str) -> None:
        answer = self.system.bearer("/api/orders", token)
        with self.lock:
            self.step.calls += 1
        if not self.is_refused(answer, token):
            told = f"{what}: {answer.status}, not 401: {answer.body[:120]!r}"
            self.fault("allowed" if 200 <= answer.status < 400 else "wrong", told, answer)

    def statuses(self, before: str, after: str) -> set[int]:
        """What a call may answer that began and ended with these states of its token."""
        states = {before, after}
        if states == {"good"}:
            return {200}
        refused = {401, 500} if self.stack.kind == "http" else {401}
        return refused if states == {"dead"} else {200} | refused

    def good(self, turn: int) -> None:
        token = self.tokens[turn % len(self.tokens)]
        before = token.state
        answer = self.system.bearer("/api/orders", token.value)
        expected = self.statuses(before, token.state)
        if self.judge("a token", answer, expected) and answer.status == 200:
            self.verify(answer, token)
        if self.stack.kind == "rest" and turn % 4 == 0:
            self.invoke(token)

    def verify(self, answer: Answer, token: Token) -> None:
        """What reached the service. Behind the emulated REST API that is the client's own header."""
        headers = answer.json().get("headers", {})
        if self.stack.kind == "http":
            self.jwt(headers.get("x-cloakroom-jwt", ""))
            if token.value in json.dumps(headers):
                self.note("wrong", "the opaque token reached the service")

    def jwt(self, token: str) -> None:
        with self.lock:
            self.step.jwts += 1
        if fault := self.service.fault(token, self.issuers):
            self.fault("wrong", f"a JWT is refused: {fault}")

    def invoke(self, token: Token) -> None:
        """Asks alias `live` of the authorizer as the API does, and verifies the JWT that it answers."""
        before = token.state
        begun = time.monotonic()
        status, granted = self.stack.authorize(token.value)
        if self.judge("alias live", Answer(status, [], b"", begun), self.statuses(before, token.state)) and status == 200:
            self.jwt(granted)

    def issue(self, _: int) -> None:
        self.judge("a new token", self.machine.ask(), {200})

    def dead(self, turn: int) -> None:
        if turn % 2:
            self.must_be_refused("a forged token", FORGED)
            self.judge("no token", self.system.get("/api/orders"), {401})
        for token in self.revoked[turn % len(self.revoked) :][:1]:
            self.must_be_refused("a dead token", token.value)

    def forbidden(self, turn: int) -> None:
        token = self.tokens[turn % len(self.tokens)]
        before = token.state
        answer = self.system.bearer("/api/reports" if turn % 2 else "/api/nowhere", token.value)
        allowed = {403 if status == 200 else status for status in self.statuses(before, token.state)}
        self.judge("what the token may not", answer, allowed)

    def browse(self, turn: int) -> None:
        if self.person is None:
            return
        before = self.person_state
        if turn % 2:
            answer = self.person.get("/api/orders", {})
            self.judge("a cookie without X-CSRF", answer, {403})
        else:
            answer = self.person.get("/api/orders", CSRF)
            self.judge("a person", answer, self.statuses(before, self.person_state))
