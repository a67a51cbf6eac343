"""The steps of a life, in order. Each says how it was judged and what was observed.

What is observed is what users of the system see: answers at its URL, JWTs of alias `live`, lines of the
functions' logs; not what the template or `$LATEST` say.
"""

import time

import keysteps
import translated
from life import Failed, Life, expect, until
from people import Machine
from stack import DeployFailed, client
from world import BACKENDS

OBSERVED = "observed"
# Without these nothing else can be.
NEEDED = ("first-deploy", "public-url")


def first_deploy(life: Life):
    life.deploy()
    life.system.url = life.stack.outputs["PublicUrl"]
    life.world.name(life.system.url.removeprefix("https://"))
    issuer = until("the metadata can be read", lambda: life.system.metadata().get("issuer"))
    expect("the issuer", issuer, "https://pending.invalid")
    return OBSERVED, f"the issuer is {issuer}; live is version {life.stack.live('Authorizer')['Version']}"


def public_url(life: Life):
    life.deploy(PublicUrl=life.system.url)
    life.traffic.issuers = {life.system.url}
    expect("the issuer", life.system.metadata()["issuer"], life.system.url)
    life.pool.callback(life.stack.outputs["CallbackUrl"])
    life.traffic.start()
    return OBSERVED, "the issuer is the URL"


def sign_in(life: Life):
    alice = life.alice
    hops = life.sign_in(alice)
    for wanted in ("303 GET", "200 GET cognito", "302 POST cognito"):
        if not any(hop.startswith(wanted) for hop in hops):
            raise Failed(f"{wanted} is not among {hops}")
    claims = alice.get("/auth/session").json().get("claims", {})
    expect("the session's claims", (claims.get("name"), claims.get("email")), ("Alice Example", "alice@example.com"))
    expect("an API call", alice.get("/api/orders").status, 200)
    expect("an API call for another role", alice.get("/api/reports").status, 403)
    expect("an API call without X-CSRF", alice.get("/api/orders", {}).status, 403)
    life.signed_in = time.monotonic()
    return OBSERVED, "Cognito's page, name and e-mail; calls 200, 403, and 403 without X-CSRF"


def client_added(life: Life):
    late = Machine(life.system, "late", "the-secret-of-a-late-client")
    expect("a token for the client before", late.ask().status, 401)
    life.clients[late.id] = late.secret
    life.deploy()
    life.late, life.late_token = late, until("the client gets a token", lambda: late.ask().json().get("access_token"), 3)
    expect("its call", life.system.bearer("/api/orders", life.late_token).status, 200)
    return OBSERVED, "the client's token request: 401, then 200; its call 200"


def client_removed(life: Life):
    del life.clients[life.late.id]
    life.deploy()
    expect("a token for the client", life.late.ask().status, 401)
    took = life.refused_within(life.late_token)
    return OBSERVED, f"its token request 401; its token 401 after {took:.1f} s"


def route(life: Life):
    token = life.machine.token()
    expect("the path before", life.system.bearer("/api/added", token).status, 403)
    life.routes.append(("/api/added", ""))
    life.template_route("/api/added")
    life.deploy()
    answer = life.system.bearer("/api/added", token)
    expect("the path", (answer.status, answer.json().get("path")), (200, "/api/added"))
    expect("another path", life.system.bearer("/api/added2", token).status, 403)
    return OBSERVED, "GET /api/added: 403, then 200 from the service; /api/added2 stays 403"


def backend_url(life: Life):
    token = life.machine.token()
    said = lambda: life.system.bearer("/api/orders", token).json().get("service")  # noqa: E731
    expect("the service before", said(), BACKENDS[0])
    life.deploy(BackendUrl=f"https://{BACKENDS[1]}")
    expect("the service", said(), BACKENDS[1])
    return OBSERVED, f"{BACKENDS[1]} answers"


def redeploy(life: Life):
    """The emulator has no deployments that differ from the API; so, on the transformed template."""
    return translated.redeployed(life)


def authorizer_ttl(life: Life):
    """An HTTP API of the emulator keeps answers; there a revoked token shows for how long."""
    judged = translated.kept_answers(life)
    if life.kind == "rest":
        return judged
    lived = life.lives_after_revoke()
    life.latency = 12
    life.deploy(AuthorizerTtl=6)
    longer = life.lives_after_revoke()
    life.latency = 2
    life.deploy(AuthorizerTtl=1)
    shorter = life.lives_after_revoke()
    if not (longer > 4 and max(lived, shorter) < 3):
        raise Failed(f"a revoked token lives for {lived:.1f}, {longer:.1f} and {shorter:.1f} s")
    return OBSERVED, f"AuthorizerTtl 1, 6, 1: a revoked token lives for {lived:.1f}, {longer:.1f}, {shorter:.1f} s"


def log_level(life: Life):
    if "started" in life.logged("authorizer"):
        raise Failed("there are lines of level debug before")
    life.deploy(LogLevel="debug")
    life.system.bearer("/api/orders", life.machine.token())
    until("there is a line of level debug", lambda: "started" in life.logged("authorizer"))
    life.deploy(LogLevel="info")
    return OBSERVED, "a line of level debug in the log, and none before"


def not_before(life: Life):
    moment = int(time.time()) + 1
    time.sleep(1.1)
    life.traffic.all("either")
    life.deploy(NotBefore=moment)
    old = life.traffic.tokens[0].value
    took = life.refused_within(old)
    expect("the session", life.alice.get("/auth/session").status, 401)
    expect("alias live for the old token", life.stack.authorize(old)[0], 401)
    life.traffic.all("dead")
    life.traffic.renew()
    life.sign_in(life.alice)
    return OBSERVED, f"tokens 401 after {took:.1f} s, the session 401; new ones 200"


def restore(life: Life):
    """A backup from before a revoke, restored as docs/operations.md says."""
    token = life.machine.token()
    time.sleep(1.1)
    expect("revoking", life.machine.revoke(token), 200)
    life.refused_within(token)
    table = life.stack.outputs["Table"]
    dynamodb = client("dynamodb")
    dynamodb.restore_table_to_point_in_time(
        SourceTableName=table, TargetTableName=f"{table}-restored", UseLatestRestorableTime=True
    )
    until(
        "the table is restored",
        lambda: dynamodb.describe_table(TableName=f"{table}-restored")["Table"]["TableStatus"] == "ACTIVE",
    )
    before = dynamodb.scan(TableName=f"{table}-restored", Select="COUNT")["Count"]
    moment = int(time.time()) + 1
    time.sleep(1.1)
    life.traffic.all("either")
    life.traffic.moved = True
    life.deploy(RestoredTable=f"{table}-restored", NotBefore=moment)
    took = life.refused_within(life.traffic.tokens[0].value)
    expect("the revoked token", life.stack.authorize(token)[0], 401)
    life.traffic.all("dead")
    life.traffic.renew()
    life.traffic.moved = False
    life.sign_in(life.alice)
    written = dynamodb.scan(TableName=f"{table}-restored", Select="COUNT")["Count"]
    if written <= before:
        raise Failed("nothing is written to the restored table")
    return OBSERVED, f"{before} items restored; everything before is 401 after {took:.1f} s; new grants are in the restored table"


def provider_secret(life: Life):
    """The secret is another at the provider; `Revision` makes the functions read it."""
    ssm = client("ssm")
    put = lambda value: ssm.put_parameter(Name="/cloakroom/idp", Type="SecureString", Value=value, Overwrite=True)  # noqa: E731
    put("not-the-secret-of-the-client")
    life.deploy(Revision="wrong-secret")
    refused = life.another_person().sign_in()
    if not any(hop.startswith(("400", "401", "403", "500", "502", "503")) for hop in refused):
        raise Failed(f"with the wrong secret: {refused}")
    put(life.pool.secret)
    life.deploy(Revision="new-secret")
    life.sign_in(life.another_person())
    return OBSERVED, f"with a wrong secret sign-in ends with {refused[-1].split()[0]}, with the right one it works"


def code(life: Life):
    """Another program for jwks: one that says Cache-Control in other words."""
    say = lambda: life.system.get("/.well-known/jwks.json").header("Cache-Control")  # noqa: E731
    expect("what it says before", say()[:6], "public")
    life.program("Jwks", b"public, max-age=", b"PUBLIC, max-age=")
    before = {name: life.stack.live(name)["Version"] for name in ("Authorizer", "Login", "Token")}
    life.deploy()
    expect("what it says", say()[:6], "PUBLIC")
    after = {name: life.stack.live(name)["Version"] for name in ("Authorizer", "Login", "Token")}
    expect("the versions of the other functions", after, before)
    return OBSERVED, "the new program answers, and the other functions keep their versions"


def failing_deploy(life: Life):
    """A deploy that fails when all aliases have moved: what ran runs on. Then the same without what failed."""
    late = Machine(life.system, "later", "the-secret-of-a-later-client")
    life.clients[late.id] = late.secret
    handle = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    condition = {
        "Type": "AWS::CloudFormation::WaitCondition",
        "DependsOn": [f"{name}Aliaslive" for name in ("Authorizer", "Login", "Token", "Jwks")],
        "Properties": {"Handle": {"Ref": "NeverHandle"}, "Timeout": "2", "Count": 1},
    }
    life.stack.template["Resources"] |= {"NeverHandle": handle, "Never": condition}
    try:
        life.deploy(LogLevel="debug")
    except DeployFailed:
        pass
    else:
        raise Failed("a deploy that must fail did not")
    life.stack.look()
    expect("the stack", life.stack.status, "UPDATE_ROLLBACK_COMPLETE")
    expect("a token for the client of the failed deploy", late.ask().status, 401)
    del life.stack.template["Resources"]["NeverHandle"], life.stack.template["Resources"]["Never"]
    life.deploy(LogLevel="info")
    expect("a token for the client of the retry", late.ask().status, 200)
    return OBSERVED, "rolled back: its client is unknown; the retry: known"


def going_back(life: Life):
    """The files of the version before are deployed."""
    life.program("Jwks", b"PUBLIC, max-age=", b"public, max-age=")
    del life.clients["later"]
    life.deploy()
    said = life.system.get("/.well-known/jwks.json").header("Cache-Control")
    expect("what jwks says", said[:6], "public")
    expect("a token for the later client", Machine(life.system, "later", "the-secret-of-a-later-client").ask().status, 401)
    return OBSERVED, "the old program answers, the later client is unknown"


def claims_refreshed(life: Life):
    """The person's name is another at the provider; the session has it after `claims_max_age`."""
    life.sign_in(life.alice)
    until("the claims are 30 s old", lambda: time.monotonic() - life.signed_in > 31, 40)
    life.pool.rename("alice", "Alice Renamed")
    name = until("the claims are renewed", lambda: life.alice.get("/auth/session").json().get("claims", {}).get("name") == "Alice Renamed")
    expect("an API call", life.alice.get("/api/orders").status, 200)
    life.pool.rename("alice", "Alice Example")
    return OBSERVED, "the provider's new name is in /auth/session" if name else ""


def sign_out(life: Life):
    bob = life.another_person()
    life.sign_in(bob)
    stolen = bob.session
    expect("signing out without X-CSRF", bob.post("/auth/logout", {}).status, 403)
    answer = bob.post("/auth/logout")
    expect("signing out", answer.status, 200)
    if bob.session:
        raise Failed("the cookie stays")
    bob.plant(stolen)
    until("the session is over", lambda: life.traffic.is_refused(bob.get("/api/orders"), stolen, "Session"))
    expect("the session", bob.get("/auth/session").status, 401)
    return OBSERVED, "200, then the old cookie is 401"


def canary(life: Life):
    """The emulator has no CodeDeploy; so, on the transformed template."""
    return translated.canary(life)


def delete(life: Life):
    """`sam delete`. The table stays, and the keys of which the template says so."""
    life.old_token, life.old_kid = life.machine.token(), life.kid(life.machine.token())
    life.table = table = life.stack.outputs["Table"]
    keys = {
        name: life.stack.resource(name)
        for name, resource in life.stack.template["Resources"].items()
        if resource["Type"] == "AWS::KMS::Key" and life.stack.has(name)
    }
    # How the functions name them: the first signs, the first seals.
    told = life.stack.live("Token")["Environment"]["Variables"]
    life.kept = {"SigningKeyArns": told["CLOAKROOM_SIGNING_KEYS"], "MacKeyArns": told["CLOAKROOM_MAC_KEYS"]}
    life.traffic.stop()
    life.stack.delete()
    gone = life.system.get("/.well-known/oauth-authorization-server").status
    if 200 <= gone < 300:
        raise Failed("the system still answers")
    expect("the table", client("dynamodb").describe_table(TableName=table)["Table"]["TableStatus"], "ACTIVE")
    states = {}
    for name, key in keys.items():
        kept = life.stack.template["Resources"][name].get("DeletionPolicy") == "Retain"
        states[name] = client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
        expect(f"the key {name}", states[name], "Enabled" if kept else "PendingDeletion")
    return OBSERVED, f"nothing answers; the table is ACTIVE, the keys {', '.join(sorted(set(states.values())))}"


def adopt(life: Life):
    """A new stack takes the table and the keys that were kept: what was issued before goes on."""
    before = life.stack
    life.stack = life.new_stack("successor")
    life.stack.template = before.template
    life.traffic.stack = life.stack
    adopted = life.kept | {"TableName": life.table, "NotBefore": before.parameters.get("NotBefore", "0")}
    life.deploy(**adopted)
    life.system.url = life.stack.outputs["PublicUrl"]
    life.world.name(life.system.url.removeprefix("https://"))
    life.deploy(PublicUrl=life.system.url)
    expect("a call with a token of the stack before", life.system.bearer("/api/orders", life.old_token).status, 200)
    expect("the key that signs", life.kid(life.old_token), life.old_kid)
    expect("the keys published", list(life.system.keys()), [life.old_kid])
    if life.stack.has("Table"):
        raise Failed("the new stack made a table of its own")
    return OBSERVED, "a token of the stack before is 200, and the same key signs"


STEPS = {
    "first-deploy": first_deploy,
    "public-url": public_url,
    "sign-in": sign_in,
    "client-added": client_added,
    "client-removed": client_removed,
    "route": route,
    "backend-url": backend_url,
    "redeploy": redeploy,
    "authorizer-ttl": authorizer_ttl,
    "log-level": log_level,
    "claims": claims_refreshed,
    "not-before": not_before,
    "signing-keys": keysteps.signing_keys,
    "mac-keys": keysteps.mac_keys,
    "data-key": keysteps.data_key,
    "kms": keysteps.back_to_kms,
    "restore": restore,
    "provider-secret": provider_secret,
    "code": code,
    "canary": canary,
    "failing-deploy": failing_deploy,
    "going-back": going_back,
    "sign-out": sign_out,
    "delete": delete,
    "adopt": adopt,
}


# Steps that are about a parameter, and for templates that have it.
ABOUT = {"canary": "DeploymentPreference", "adopt": "TableName"}


def chosen(names: str, life: Life):
    """The steps to run: all, or those that were named and those that they need."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := set(wanted) - set(STEPS):
        raise SystemExit(f"there are no steps {sorted(unknown)}; there are {list(STEPS)}")
    wanted += ["client-added"] if "client-removed" in wanted else []
    wanted += ["data-key"] if "kms" in wanted else []
    wanted += ["delete"] if "adopt" in wanted else []
    wanted += ["sign-in"] if wanted else []
    known = life.stack.template["Parameters"]
    return [
        (name, run)
        for name, run in STEPS.items()
        if (not wanted or name in wanted or name in NEEDED) and ABOUT.get(name, "BackendUrl") in known
    ]
