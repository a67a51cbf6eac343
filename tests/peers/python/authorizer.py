"""A phantom-token authorizer as a team would write it in Python, and write well: clients made once,
connections kept, token looked up by its hash, JWT from memory, else from the item, else signed."""

import base64
import hashlib
import json
import os
import re
import time
import uuid

import boto3
from jwt.utils import base64url_encode

TABLE = os.environ["CLOAKROOM_TABLE"]
KEY = os.environ["CLOAKROOM_SIGNING_KEYS"]
ISSUER = os.environ["CLOAKROOM_ISSUER"]
DYNAMODB = boto3.client("dynamodb")
KMS = boto3.client("kms")
TOKEN = re.compile(r"Bearer (cr_at_[A-Za-z0-9_-]{64}[0-9A-Za-z]{6})", re.ASCII)
ROUTES = {("GET", "/api/orders"): "orders:read"}
MEMORY_SECONDS = 60
LEAST_LIFE = 90
memory = {}


def part(value):
    return base64url_encode(json.dumps(value, separators=(",", ":")).encode())


def sign(item, now):
    expires = min(now + 600, int(item["exp"]["N"]))
    header = {"alg": "RS256", "typ": "at+jwt", "kid": KEY.rsplit("/", 1)[-1]}
    claims = {
        "iss": ISSUER, "sub": item["sub"]["S"], "aud": "orders", "client_id": item["client_id"]["S"],
        "scope": item["scope"]["S"], "iat": now, "nbf": now, "exp": expires, "jti": str(uuid.uuid4()),
    }
    signing_input = part(header) + b"." + part(claims)
    signature = KMS.sign(
        KeyId=KEY, Message=hashlib.sha256(signing_input).digest(), MessageType="DIGEST",
        SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256",
    )["Signature"]
    return (signing_input + b"." + base64url_encode(signature)).decode(), expires


def identity_of(token, now):
    digest = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
    known = memory.get(digest)
    if known and now - known["read_at"] < MEMORY_SECONDS and known["exp"] - now > LEAST_LIFE:
        return known
    key = {"pk": {"S": f"peer#{digest}"}, "sk": {"S": "peer"}}
    item = DYNAMODB.get_item(TableName=TABLE, Key=key, ConsistentRead=True).get("Item")
    if item is None or item["state"]["S"] != "active" or int(item["exp"]["N"]) <= now:
        raise Exception("Unauthorized")
    jwt, expires = item.get("jwt", {}).get("S"), int(item.get("jwt_exp", {"N": "0"})["N"])
    if expires - now <= LEAST_LIFE:
        jwt, expires = sign(item, now)
        DYNAMODB.update_item(
            TableName=TABLE, Key=key, UpdateExpression="SET jwt = :jwt, jwt_exp = :exp",
            ConditionExpression="#state = :active", ExpressionAttributeNames={"#state": "state"},
            ExpressionAttributeValues={":jwt": {"S": jwt}, ":exp": {"N": str(expires)}, ":active": {"S": "active"}},
        )
    if len(memory) >= 4000:
        memory.clear()
    memory[digest] = identity = {
        "jwt": jwt, "exp": expires, "read_at": now, "sub": item["sub"]["S"],
        "scope": item["scope"]["S"], "client_id": item["client_id"]["S"],
    }
    return identity


def handler(event, _context):
    headers = [value for name, value in (event.get("headers") or {}).items() if name.lower() == "authorization"]
    match = TOKEN.fullmatch(headers[0]) if len(headers) == 1 else None
    if match is None:
        raise Exception("Unauthorized")
    identity = identity_of(match[1], int(time.time()))
    scope = ROUTES.get((event["httpMethod"], event["resource"]))
    allowed = scope is not None and scope in identity["scope"].split()
    arn, stage = event["methodArn"].split("/")[:2]
    print(json.dumps({"outcome": "allowed" if allowed else "forbidden", "request_id": event["requestContext"]["requestId"]}))
    answer = {
        "principalId": hashlib.sha256(identity["sub"].encode()).hexdigest()[:16],
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{
                "Action": "execute-api:Invoke",
                "Effect": "Allow" if allowed else "Deny",
                "Resource": f"{arn}/{stage}/*",
            }],
        },
    }
    if allowed:
        answer["context"] = {
            "authorization": f"Bearer {identity['jwt']}", "client_id": identity["client_id"], "scope": identity["scope"],
        }
    return answer
