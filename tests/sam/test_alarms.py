"""The evaluator of alarms against AWS's documentation, and the lists that it goes by against the
templates. Real faults: tests/it/alarms.rs."""

import copy
import json
import unittest

import alarms
import checks

COUNT = {
    "Namespace": "N",
    "MetricName": "M",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 1,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "TreatMissingData": "notBreaching",
}


def state(points, before="OK", **changes):
    return alarms.state_after(COUNT | changes, points, before)


class States(unittest.TestCase):
    def test_every_period_must_breach_where_nothing_else_is_said(self):
        self.assertEqual(state([1, 1, 1]), "ALARM")
        self.assertEqual(state([1, 0, 1]), "OK")
        self.assertEqual(state([1, 0, 1], DatapointsToAlarm=2), "ALARM")

    def test_missing_data_is_what_the_alarm_says_it_is(self):
        # "Configuring how CloudWatch alarms treat missing data": 3 of 3, and all of them missing.
        gone = [None, None, None]
        for treatment, expected in (
            ("missing", "INSUFFICIENT_DATA"),
            ("ignore", "ALARM"),
            ("breaching", "ALARM"),
            ("notBreaching", "OK"),
        ):
            self.assertEqual(state(gone, "ALARM", TreatMissingData=treatment), expected, treatment)
        self.assertEqual(state([1, None, 1]), "OK")
        self.assertEqual(state([1, None, 1], TreatMissingData="breaching"), "ALARM")

    def test_an_alarm_may_look_for_too_little(self):
        less = {"ComparisonOperator": "LessThanThreshold", "Threshold": 14, "EvaluationPeriods": 1}
        self.assertEqual([state([days], **less) for days in (13, 14, 90)], ["ALARM", "OK", "OK"])


class MetricMath(unittest.TestCase):
    def math(self, text, **series):
        return alarms.Math(text, series).evaluate()

    def test_what_the_templates_use(self):
        self.assertEqual(self.math("100 * (e - FILL(a, 0)) / i", e=[2, 1], a=[None, 1], i=[4, 2]), [50, 0])
        self.assertEqual(self.math("IF(n > 0, 100 * FILL(e, 0) / n, 0)", e=[None, 1], n=[10, None]), [0, None])
        self.assertEqual(self.math("RUNNING_SUM(m)", m=[1, 2, None, 3]), [1, 3, None, 6])
        self.assertEqual(self.math("IF(m < 1 AND RUNNING_SUM(m) >= 2, 1, 0)", m=[0, 2, 0]), [0, 0, 1])
        self.assertEqual(self.math("a / b", a=[1], b=[0]), [None], "a division by zero is no datapoint")

    def test_what_is_not_known_is_not_guessed(self):
        for text in ("ANOMALY_DETECTION_BAND(m)", "m +", "(m", "m ? 1", "1 + 1", "FILL(m, REPEAT)"):
            with self.assertRaises((ValueError, IndexError, KeyError), msg=text):
                self.math(text, m=[1])


class Emf(unittest.TestCase):
    LINE = {
        "_aws": {
            "Timestamp": 1,
            "CloudWatchMetrics": [
                {"Namespace": "N", "Dimensions": [["stack"]], "Metrics": [{"Name": "M", "Unit": "Count"}]}
            ],
        },
        "stack": "s",
        "M": [1, 2],
    }

    def test_a_line_is_values_under_its_dimensions(self):
        metrics = alarms.Metrics()
        alarms.read_emf(metrics, json.dumps(self.LINE), 0)
        for other in ("text", "[]", '{"M": 1}'):
            alarms.read_emf(metrics, other, 0)
        self.assertEqual(metrics.series(("N", "M", {"stack": "s"}), "Sum", 60, 1, 2), [None, 3])
        self.assertEqual(metrics.series(("N", "M", {"stack": "t"}), "Sum", 60, 1, 1), [None])

    def test_a_line_that_cloudwatch_would_drop_is_an_error(self):
        for change in (lambda l: l.pop("stack"), lambda l: l.pop("M"), lambda l: l.update(M="1"), lambda l: l.update(stack="")):
            line = copy.deepcopy(self.LINE)
            change(line)
            with self.assertRaises((KeyError, ValueError)):
                alarms.read_emf(alarms.Metrics(), json.dumps(line), 0)


class Lists(unittest.TestCase):
    def test_every_alarm_of_both_templates_has_a_fault_and_is_understood(self):
        for kind in ("rest", "http"):
            found = alarms.alarms_of(alarms.stack(kind))
            self.assertEqual(alarms.without_fault(found), [], kind)
            for name, alarm in found.items():
                self.assertIn(alarms.states(alarm, alarms.Metrics(), 180)[-1], ("OK", "ALARM", "INSUFFICIENT_DATA"), name)

    def test_an_alarm_that_nobody_has_listed_is_noticed(self):
        found = alarms.alarms_of(alarms.stack("rest"))
        self.assertIn("no fault is listed for NewAlarm", alarms.without_fault(found | {"NewAlarm": found["UnavailableAlarm"]}))
        del found["UnavailableAlarm"]
        self.assertIn("UnavailableAlarm is listed and does not exist", alarms.without_fault(found))

    def test_a_metric_that_no_function_emits_is_noticed(self):
        found = alarms.alarms_of(alarms.stack("rest"))
        said = "\n".join(alarms.never_emitted(found, {}))
        for alarm in found.values():
            for namespace, metric, _ in checks.watched(alarm):
                if namespace == "Cloakroom":
                    self.assertIn(metric, said)


if __name__ == "__main__":
    unittest.main()
