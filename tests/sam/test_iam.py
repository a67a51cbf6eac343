"""The comparison of rights and calls, held to finding what it is there to find."""

import unittest

import iam
import template as sam


def call(function, action, on=None, **conditions):
    made = {"function": function, "action": action}
    if on:
        made["on"] = on
    if conditions:
        made["with"] = {f"kms:{name}": value for name, value in conditions.items()}
    return made


def calls_of(every):
    """Calls that use every right once."""
    found = []
    for right in every:
        if right.action in iam.PLATFORM:
            continue
        made = call(right.function, right.action, right.on.replace("*", ""))
        if right.conditions:
            made["with"] = dict(right.conditions)
        found.append(made)
    return found


class Rights(unittest.TestCase):
    def setUp(self):
        self.every = iam.granted()
        self.calls = calls_of(self.every)

    def found(self, *, more=(), without=lambda call: False):
        calls = [one for one in self.calls if not without(one)] + list(more)
        return "\n".join(iam.compare(self.every, calls))

    def test_calls_that_use_everything_agree_with_both_templates(self):
        for kind in sam.TEMPLATES:
            every = iam.granted(kind)
            self.assertEqual(iam.compare(every, calls_of(every)), [])
            self.assertEqual(every, self.every)

    def test_a_call_that_is_not_granted(self):
        digest = {"SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256", "MessageType": "DIGEST"}
        for more in (
            call("jwks", "kms:Sign", "SigningKey", **digest),
            call("login", "kms:Sign", "SigningKey", **digest),
            call("authorizer", "kms:Sign", "KeysetKey", **digest),
            call("authorizer", "kms:Sign", "SigningKey", **digest | {"MessageType": "RAW"}),
            call("authorizer", "kms:Sign", "SigningKey", **digest | {"SigningAlgorithm": "RSASSA_PSS_SHA_512"}),
            call("authorizer", "kms:Sign", "SigningKey"),
            call("authorizer", "kms:Sign", **digest),
            call("authorizer", "kms:Decrypt", "WrappingKey"),
            call("authorizer", "kms:Decrypt", "WrappingKey", **{"EncryptionContext:cloakroom:deployment": ""}),
            call("login", "kms:Sign", "ClientKey", **digest | {"SigningAlgorithm": "ECDSA_SHA_384"}),
            call("authorizer", "kms:GenerateMac", "MacKey", MacAlgorithm="HMAC_SHA_512"),
            call("authorizer", "dynamodb:GetItem", "sub#"),
            call("authorizer", "dynamodb:GetItem"),
            call("authorizer", "dynamodb:PutItem", "f#"),
            call("authorizer", "dynamodb:Scan"),
            call("token", "dynamodb:Query", "sub#"),
            call("token", "dynamodb:DeleteItem", "f#"),
            call("login", "ssm:GetParameter", "/other/idp"),
        ):
            self.assertIn("not granted", self.found(more=[more]), more)

    def test_a_right_that_nobody_uses(self):
        for function, action, on in (
            ("authorizer", "dynamodb:GetItem", "epoch"),
            ("login", "dynamodb:Query", "ids#"),
            ("token", "dynamodb:ConditionCheckItem", "ended#"),
            ("jwks", "kms:GetPublicKey", "SigningKey"),
            ("login", "secretsmanager:GetSecretValue", "cloakroom/"),
        ):

            def used(one, function=function, action=action, on=on):
                return (one["function"], one["action"], one.get("on")) == (function, action, on)

            self.assertIn(f"never used: {function} {action}", self.found(without=used))

    def test_a_condition_that_no_call_meets(self):
        # One algorithm among those that a team may choose.
        def signs(one):
            return one["action"] == "kms:Sign" and one["with"]["kms:SigningAlgorithm"] == "ED25519_SHA_512"

        found = self.found(without=signs)
        for right in ("authorizer kms:Sign SigningKey", "token kms:Sign SigningKey", "login kms:Sign ClientKey"):
            self.assertIn(f"never used: {right} kms:MessageType=RAW kms:SigningAlgorithm=ED25519_SHA_512", found)

    def test_a_function_of_which_nothing_was_recorded(self):
        self.assertIn("jwks: no call was recorded", self.found(without=lambda one: one["function"] == "jwks"))

    def test_a_condition_that_nobody_here_understands(self):
        for change in (
            {"StringLike": {"dynamodb:LeadingKeys": ["f#*"]}},
            {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["f#*"], "dynamodb:Attributes": ["pk"]}},
        ):
            resources = sam.resolve(sam.transformed("rest"))
            policy = resources["AuthorizerRole"]["Properties"]["Policies"][0]["PolicyDocument"]
            policy["Statement"][2]["Condition"] = change
            with self.assertRaises(ValueError):
                iam.rights(resources)

    def test_a_stack_signs_in_one_way(self):
        for choice in iam.CHOICES:
            signing = {
                (right.action, right.on)
                for right in iam.rights(sam.resolve(sam.transformed("rest"), choice))
                if right.on != "ClientKey" and right.action.startswith("kms:") and right.action != "kms:GenerateMac"
            }
            if choice.get("SigningMode") != "data-key":
                self.assertEqual(signing, {("kms:Sign", "SigningKey"), ("kms:GetPublicKey", "SigningKey")})
            else:
                # With KeysetPublicKey too: the version that runs until the alias moves may still ask.
                self.assertEqual(signing, {("kms:Decrypt", "WrappingKey"), ("kms:GetPublicKey", "KeysetKey")})


if __name__ == "__main__":
    unittest.main()
