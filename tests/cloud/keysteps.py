"""The steps of a life that change keys. Services verify throughout, with keys that they keep for a while."""

import os
import subprocess
import time

from life import Failed, Life, expect, until
from world import ROOT

OBSERVED = "observed"
CLI = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug/cloakroom"


def services_have_read(life: Life) -> None:
    """The wait between two steps: every service has asked for the keys again."""
    time.sleep(2 * life.service.keep)


def signer(life: Life) -> str:
    """The `kid` of a JWT that is signed now."""
    return life.kid(life.machine.token())


def signing_keys(life: Life):
    first = signer(life)
    expect("published", list(life.system.keys()), [first])
    told = []
    for keys, count, moved in (("A,B", 2, False), ("B,A", 2, True), ("B", 1, True)):
        life.deploy(SigningKeys=keys)
        published = list(life.system.keys())
        expect(f"keys published with {keys}", len(published), count)
        if (signer(life) != first) != moved:
            raise Failed(f"with {keys} the wrong key signs")
        if moved and count == 1:
            expect("the only key", published, [signer(life)])
        services_have_read(life)
        told.append(keys)
    return OBSERVED, "A → A,B → B,A → B: published before it signs, and withdrawn last"


def mac_keys(life: Life):
    old = life.machine.token()
    life.deploy(MacKeys="A,B")
    life.deploy(MacKeys="B,A")
    # Everything that A sealed still opens; what begins now is sealed by B.
    expect("a token of A", life.system.bearer("/api/orders", old).status, 200)
    life.traffic.renew()
    life.sign_in(life.alice)
    life.deploy(MacKeys="B")
    expect("alias live for a token of A", life.stack.authorize(old)[0], 401)
    life.refused_within(old)
    return OBSERVED, "A → A,B → B,A → B: a token of A is 200 until A is taken away, then 401"


def cloakroom(life: Life, *arguments: str) -> str:
    """The command, in the environment of the token function, as docs/operations.md has it."""
    told = life.stack.live("Token")["Environment"]["Variables"]
    (life.folder / "operator.toml").write_text(life.stack.configuration)
    environment = os.environ | told | {"CLOAKROOM_CONFIG": str(life.folder / "operator.toml")}
    done = subprocess.run(
        [CLI, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise Failed(f"cloakroom {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def data_key(life: Life):
    """docs/upgrade.md announces that nothing signs from the deploy until `keys rotate`."""
    before = set(life.system.keys())
    with life.traffic.interruption() as counted:
        life.mode = "data-key"
        life.deploy(SigningMode="data-key")
        cloakroom(life, "keys", "rotate")
        until("a data key is published", lambda: life.system.keys() and not set(life.system.keys()) & before, 30)
        services_have_read(life)
        until("a token works", lambda: life.system.bearer("/api/orders", life.machine.token()).status == 200, 90)
        services_have_read(life)
    published = set(life.system.keys())
    if signer(life) not in published:
        raise Failed("the JWT's key is not published")
    return OBSERVED, f"a data key signs after keys rotate; {counted()} announced failures until then"


def back_to_kms(life: Life):
    before = set(life.system.keys())
    with life.traffic.interruption() as counted:
        life.mode = "kms"
        life.deploy(SigningMode="kms")
        until("a KMS key is published", lambda: life.system.keys() and not set(life.system.keys()) & before)
        services_have_read(life)
    expect("the key of a JWT is published", signer(life) in life.system.keys(), True)
    return OBSERVED, f"a KMS key signs; {counted()} announced failures until services had read it"
