"""Applies the templates' own alarm definitions to what functions and API did while something was broken.

    python alarms.py < RECORDING

RECORDING is JSON, written by tests/it/alarms.rs: `kind` (rest or http) and `minutes` by name. A minute is
what one minute of traffic left behind: `lines` (what the real bootstraps wrote to standard output), `lambda`
(Invocations, Errors and Throttles of each function, as Lambda counts them) and `api` (the statuses that
clients got). A scenario puts minutes one after another, the same one as often as it says, and names the
alarms that must fire; all others must stay quiet. Nobody waits an hour for an hour of traffic.

The evaluator does what CloudWatch's documentation says: statistics per period, M out of N, missing data,
and of metric math what the templates use. Periods are aligned to the hour and a state is evaluated at the
end of each. A math expression sees the last N periods.
"""

import json
import re
import sys
from dataclasses import dataclass

import checks
import template as sam

FUNCTIONS = tuple(name.lower() for name in sam.FUNCTIONS)

# Stacks in which every alarm exists.
EVERYTHING = {"SigningMode": "data-key"}
BASE = {"rest": {}, "http": {"Edge": "none"}}


@dataclass(frozen=True)
class Scenario:
    """Minutes one after another, and what must fire."""

    timeline: tuple
    fires: frozenset


def scenario(timeline: list, *fires: str) -> Scenario:
    return Scenario(tuple(timeline), frozenset(fires))


def broken(minute: str, *fires: str, minutes: int = 20) -> Scenario:
    """Half an hour that is healthy, the fault, and half an hour that is healthy."""
    return scenario([("healthy", 30), (minute, minutes), ("healthy", 30)], *fires)


UNAVAILABLE = ("UnavailableAlarm", "ApiErrorsAlarm", "ApiErrorsHourlyAlarm")
API = ("ApiErrorsAlarm", "ApiErrorsHourlyAlarm")

SCENARIOS = {
    "healthy traffic for three hours": scenario([("healthy", 180)]),
    "no traffic at all": scenario([(None, 180)]),
    "the table is gone": broken("table gone", *UNAVAILABLE),
    "the signing key is disabled": broken("signing key disabled", *UNAVAILABLE),
    "the MAC key is disabled": broken("mac key disabled", *UNAVAILABLE),
    "DynamoDB throttles": broken("dynamodb throttles", "ThrottledAlarm", *UNAVAILABLE),
    "KMS throttles": broken("kms throttles", "ThrottledAlarm", *UNAVAILABLE),
    "an identity provider is down": broken("provider down", *UNAVAILABLE),
    "four requests a minute fail": broken("four fail", *UNAVAILABLE),
    "one minute in which four requests fail": broken("four fail", minutes=1),
    "four requests fail every twenty minutes": scenario(
        [("healthy", 60)] + [("four fail", 1), ("healthy", 19)] * 6, "ApiErrorsHourlyAlarm"
    ),
    "the authorizer cannot start": broken("authorizer cannot start", "AuthorizerErrorsAlarm", *API),
    "the login function cannot start": broken("login cannot start", "LoginFailedAlarm", *API),
    "the token function cannot start": broken("token cannot start", "TokenFailedAlarm", *API),
    "the jwks function cannot start": broken("jwks cannot start", "JwksFailedAlarm", *API),
    "one request in three minutes finds a token function that cannot start": scenario(
        [("healthy", 30)] + [("token cannot start", 1), ("healthy", 2)] * 10, "TokenFailedAlarm", *API
    ),
    "Lambda throttles the authorizer": broken("authorizer throttled", "AuthorizerThrottledAlarm", *API),
    "Lambda throttles the login function": broken("login throttled", "LoginThrottledAlarm", *API),
    "Lambda throttles the token function": broken("token throttled", "TokenThrottledAlarm", *API),
    "Lambda throttles the jwks function": broken("jwks throttled", "JwksThrottledAlarm", *API),
    "everybody sends tokens that are no good": broken("only 401"),
    "a used refresh token comes again": broken("refresh reuse", "RefreshReuseAlarm", minutes=1),
    "a used code comes again": broken("code replay", "CodeReplayAlarm", minutes=1),
    "somebody wrote the table": broken("seals broken", "SealsBrokenAlarm", minutes=1),
    "an item of a later release": broken("unknown format", "UnknownFormatAlarm", minutes=1),
    "a few requests of foreign pages": broken("five csrf"),
    "many requests of foreign pages": broken("sixty csrf", "CsrfRefusalsAlarm"),
    "steady traffic stops": scenario([("healthy", 60), (None, 60)], "NoTrafficAlarm"),
    "traffic stops for ten minutes": scenario([("healthy", 60), (None, 10), ("healthy", 60)]),
    "traffic of a few minutes stops": scenario([(None, 60), ("healthy", 20), (None, 60)]),
    "traffic begins": scenario([(None, 90), ("healthy", 90)]),
    "data keys for ninety days": scenario([("healthy", 60), ("data key for 90 days", 120)]),
    "data keys that end in ten days": scenario([("healthy", 60), ("data key for 10 days", 120)], "SigningKeyEndsAlarm"),
    "data keys that end in ten days, then a rotation": scenario(
        [("data key for 10 days", 120), ("data key for 90 days", 120)], "SigningKeyEndsAlarm"
    ),
}



class Metrics:
    """Values by metric and minute."""

    def __init__(self):
        self.values: dict[tuple, dict[int, list[float]]] = {}

    def add(self, namespace: str, name: str, dimensions: dict, minute: int, *values: float):
        key = (namespace, name, frozenset(dimensions.items()))
        self.values.setdefault(key, {}).setdefault(minute, []).extend(values)

    def series(self, metric: tuple, stat: str, period: int, end: int, count: int) -> list[float | None]:
        """The last `count` datapoints before minute `end`; None where there is none."""
        namespace, name, dimensions = metric
        found = self.values.get((namespace, name, frozenset(dimensions.items())), {})
        width = period // 60
        points = []
        for start in range(end - count * width, end, width):
            values = [value for minute in range(start, start + width) for value in found.get(minute, [])]
            points.append(STATISTICS[stat](values) if values else None)
        return points


STATISTICS = {"Sum": sum, "Minimum": min, "Maximum": max, "SampleCount": len, "Average": lambda all: sum(all) / len(all)}


def read_emf(metrics: Metrics, line: str, minute: int):
    """What CloudWatch makes of a line of a log group: nothing, or metrics (embedded metric format)."""
    try:
        document = json.loads(line)
    except ValueError:
        return
    if not isinstance(document, dict) or "_aws" not in document:
        return
    if not isinstance(document["_aws"]["Timestamp"], int):
        raise ValueError(f"a time that is none: {line}")
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for names in directive["Dimensions"]:
            dimensions = {name: document[name] for name in names}
            if not all(isinstance(value, str) and value for value in dimensions.values()):
                raise ValueError(f"a dimension is no text: {line}")
            for metric in directive["Metrics"]:
                value = document[metric["Name"]]
                values = value if isinstance(value, list) else [value]
                if not values or len(values) > 100 or not all(isinstance(one, (int, float)) for one in values):
                    raise ValueError(f"no value of a metric: {line}")
                metrics.add(directive["Namespace"], metric["Name"], dimensions, minute, *values)


def metrics_of(timeline: tuple, minutes: dict, kind: str, resources: dict) -> tuple[Metrics, int]:
    """The metrics of a timeline, and how many minutes it has."""
    metrics = Metrics()
    ((names, stage),) = checks.api_dimensions(resources)
    error = "5XXError" if "5XXError" in names else "5xx"
    at = 0
    for name, count in timeline:
        for minute in range(at, at + count):
            if name is None:
                continue
            recorded = minutes[name]
            for line in recorded["lines"]:
                read_emf(metrics, line, minute)
            for function, counted in recorded["lambda"].items():
                dimensions = {"FunctionName": f"<{function.capitalize()}>"}
                for metric, value in counted.items():
                    metrics.add("AWS/Lambda", metric, dimensions, minute, value)
            for status in recorded["api"]:
                metrics.add("AWS/ApiGateway", "Count", stage, minute, 1)
                metrics.add("AWS/ApiGateway", error, stage, minute, int(status >= 500))
        at += count
    return metrics, at


class Math:
    """Metric math: a value is a number, or a list with None where there is no datapoint."""

    TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|([A-Za-z_]\w*)|(>=|<=|==|!=|&&|\|\||[-+*/()<>,]))")

    def __init__(self, text: str, series: dict[str, list]):
        self.tokens = self.scan(text)
        self.series = series
        self.length = len(next(iter(series.values())))

    def scan(self, text: str) -> list[str]:
        tokens, at = [], 0
        while at < len(text):
            match = self.TOKEN.match(text, at)
            if not match:
                raise ValueError(f"metric math is not understood at: {text[at:]}")
            tokens.append(match.group().strip())
            at = match.end()
        return tokens

    def evaluate(self) -> list:
        value = self.either()
        if self.tokens:
            raise ValueError(f"metric math is not understood at: {self.tokens}")
        if not isinstance(value, list):
            raise ValueError("an alarm needs a time series")
        return value

    def take(self, *expected: str) -> str | None:
        if self.tokens and self.tokens[0] in expected:
            return self.tokens.pop(0)
        return None

    def need(self, expected: str):
        if not self.take(expected):
            raise ValueError(f"{expected} is missing at: {self.tokens}")

    def left_to_right(self, part, operators: dict):
        value = part()
        while operator := self.take(*operators):
            value = self.each(operators[operator], value, part())
        return value

    def either(self):
        return self.left_to_right(self.both, {"OR": lambda a, b: int(bool(a or b)), "||": lambda a, b: int(bool(a or b))})

    def both(self):
        return self.left_to_right(
            self.comparison, {"AND": lambda a, b: int(bool(a and b)), "&&": lambda a, b: int(bool(a and b))}
        )

    def comparison(self):
        return self.left_to_right(
            self.sum,
            {
                ">=": lambda a, b: int(a >= b),
                "<=": lambda a, b: int(a <= b),
                "==": lambda a, b: int(a == b),
                "!=": lambda a, b: int(a != b),
                ">": lambda a, b: int(a > b),
                "<": lambda a, b: int(a < b),
            },
        )

    def sum(self):
        return self.left_to_right(self.product, {"+": lambda a, b: a + b, "-": lambda a, b: a - b})

    def product(self):
        return self.left_to_right(self.atom, {"*": lambda a, b: a * b, "/": lambda a, b: a / b if b else None})

    def atom(self):
        if self.take("("):
            value = self.either()
            self.need(")")
            return value
        token = self.tokens.pop(0)
        if token[0].isdigit():
            return float(token)
        if self.take("("):
            arguments = [self.either()]
            while self.take(","):
                arguments.append(self.either())
            self.need(")")
            return self.call(token, *arguments)
        return self.series[token]

    def call(self, name: str, *arguments):
        match name, arguments:
            case "FILL", (list() as series, float() as value):
                return [value if one is None else one for one in series]
            case "IF", (condition, then, otherwise):
                return self.each(lambda c, t, o: t if c else o, condition, then, otherwise)
            case "RUNNING_SUM", (list() as series,):
                total, sums = 0.0, []
                for one in series:
                    total += one or 0
                    sums.append(None if one is None else total)
                return sums
        raise ValueError(f"{name} with {len(arguments)} arguments is not understood")

    def each(self, function, *values):
        if not any(isinstance(value, list) for value in values):
            return function(*values)
        rows = [value if isinstance(value, list) else [value] * self.length for value in values]
        return [None if None in row else function(*row) for row in zip(*rows, strict=True)]


COMPARISONS = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}


def period_of(alarm: dict) -> int:
    periods = {alarm["Period"]} if "Period" in alarm else {
        query["MetricStat"]["Period"] for query in alarm["Metrics"] if "MetricStat" in query
    }
    (period,) = periods
    return int(period)


def datapoints(alarm: dict, metrics: Metrics, end: int) -> list[float | None]:
    """What an alarm looks at when the minute `end` begins."""
    count, period = int(alarm["EvaluationPeriods"]), period_of(alarm)
    if "Metrics" not in alarm:
        (metric,) = checks.watched(alarm)
        return metrics.series(metric, alarm["Statistic"], period, end, count)
    series, expressions = {}, []
    for query in alarm["Metrics"]:
        if "MetricStat" in query:
            if query.get("ReturnData", True):
                raise ValueError("an alarm has one result")
            (metric,) = checks.watched({"Metrics": [query]})
            series[query["Id"]] = metrics.series(metric, query["MetricStat"]["Stat"], period, end, count)
        else:
            expressions.append(query["Expression"])
    (expression,) = expressions
    return Math(expression, series).evaluate()


def state_after(alarm: dict, points: list[float | None], before: str) -> str:
    """The state of an alarm that was in the state `before` and sees these datapoints."""
    missing = alarm.get("TreatMissingData", "missing")
    needed = int(alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]))
    known = [one for one in points if one is not None]
    if not known and missing == "ignore":
        return before
    if not known and missing == "missing":
        return "INSUFFICIENT_DATA"
    compare, threshold = COMPARISONS[alarm["ComparisonOperator"]], float(alarm["Threshold"])
    breaching = sum(1 for one in known if compare(one, threshold))
    if missing == "breaching":
        breaching += len(points) - len(known)
    return "ALARM" if breaching >= needed else "OK"


def states(alarm: dict, metrics: Metrics, minutes: int) -> list[str]:
    """The states of an alarm, at the end of each of its periods."""
    state, found = "INSUFFICIENT_DATA", []
    width = period_of(alarm) // 60
    for end in range(width, minutes + 1, width):
        state = state_after(alarm, datapoints(alarm, metrics, end), state)
        found.append(state)
    return found


def stack(kind: str) -> dict:
    """The resources of a stack that has every alarm."""
    return sam.resolve(sam.transformed(kind), BASE[kind] | EVERYTHING)


def alarms_of(resources: dict) -> dict:
    return sam.of_type(resources, "AWS::CloudWatch::Alarm")


def without_fault(alarms: dict) -> list[str]:
    """Alarms that no scenario makes fire: nobody knows whether they work."""
    known = set().union(*(one.fires for one in SCENARIOS.values()))
    return [f"no fault is listed for {name}" for name in sorted(set(alarms) - known)] + [
        f"{name} is listed and does not exist" for name in sorted(known - set(alarms))
    ]


def never_emitted(alarms: dict, minutes: dict) -> list[str]:
    """Metrics of ours that an alarm watches and that no line of any recorded minute has."""
    metrics = Metrics()
    for recorded in minutes.values():
        for line in recorded["lines"]:
            read_emf(metrics, line, 0)
    return [
        f"{name}: no function has emitted {metric}"
        for name, alarm in alarms.items()
        for namespace, metric, dimensions in checks.watched(alarm)
        if namespace == "Cloakroom" and (namespace, metric, frozenset(dimensions.items())) not in metrics.values
    ]


def judge(recording: dict) -> tuple[list[str], list[str]]:
    """`(what each scenario did, what is wrong)`."""
    kind, minutes = recording["kind"], recording["minutes"]
    resources = stack(kind)
    alarms = alarms_of(resources)
    wrong = without_fault(alarms) + never_emitted(alarms, minutes)
    told = []
    for name, one in SCENARIOS.items():
        metrics, length = metrics_of(one.timeline, minutes, kind, resources)
        history = {alarm: states(definition, metrics, length) for alarm, definition in alarms.items()}
        fired = {alarm for alarm, all_states in history.items() if "ALARM" in all_states}
        told.append(f"{kind}: {name}: {', '.join(sorted(fired)) or 'quiet'}")
        wrong += [f"{kind}: {name}: {alarm} does not fire" for alarm in sorted(one.fires - fired)]
        wrong += [f"{kind}: {name}: {alarm} fires" for alarm in sorted(fired - one.fires)]
    return told, wrong


def main() -> int:
    told, wrong = judge(json.load(sys.stdin))
    for line in told:
        print(line)
    for line in wrong:
        print(line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
