//! The policy document in an authorizer's answer, evaluated as API Gateway does:
//! anew for each request, also when the answer came from the cache.

use serde_json::{Map, Value};

use super::authorizer::MalformedAnswer;

const INVOKE: &str = "execute-api:Invoke";
/// Specs B-rest-6.
const LONGEST_RESOURCE: usize = 512;

/// A parsed policy document.
#[derive(Debug)]
pub(super) struct Policy(Vec<Statement>);

#[derive(Debug)]
struct Statement {
    allows: bool,
    actions: Vec<String>,
    resources: Vec<String>,
}

impl Policy {
    /// Reads a policy document. What this emulator cannot evaluate (`Condition`,
    /// `NotResource`, …) is malformed rather than ignored.
    pub(super) fn read(document: &Value) -> Result<Self, MalformedAnswer> {
        let document = document.as_object().ok_or(MalformedAnswer)?;
        let version = document.get("Version").and_then(Value::as_str);
        if version != Some("2012-10-17") {
            return Err(MalformedAnswer);
        }
        let statements = match document.get("Statement") {
            Some(Value::Array(statements)) => statements.iter().map(Statement::read).collect(),
            Some(statement) => Statement::read(statement).map(|statement| vec![statement]),
            None => Err(MalformedAnswer),
        };
        statements.map(Self)
    }

    /// Whether this request may pass: an explicit Deny wins, no match is a Deny.
    pub(super) fn allows(&self, arn: &str) -> bool {
        let applies = |statement: &&Statement| statement.applies(arn);
        let mut applicable = self.0.iter().filter(applies).peekable();
        applicable.peek().is_some() && applicable.all(|statement| statement.allows)
    }
}

impl Statement {
    fn read(statement: &Value) -> Result<Self, MalformedAnswer> {
        let statement = statement.as_object().ok_or(MalformedAnswer)?;
        let known = ["Action", "Effect", "Resource", "Sid"];
        if !statement.keys().all(|key| known.contains(&key.as_str())) {
            return Err(MalformedAnswer);
        }
        let allows = match statement.get("Effect").and_then(Value::as_str) {
            Some("Allow") => true,
            Some("Deny") => false,
            _ => return Err(MalformedAnswer),
        };
        let actions = strings(statement, "Action")?;
        let resources = strings(statement, "Resource")?;
        if resources
            .iter()
            .any(|resource| resource.len() > LONGEST_RESOURCE)
        {
            return Err(MalformedAnswer);
        }
        Ok(Self {
            allows,
            actions,
            resources,
        })
    }

    fn applies(&self, arn: &str) -> bool {
        let invoke = INVOKE.to_ascii_lowercase();
        self.actions
            .iter()
            .any(|action| matches(&action.to_ascii_lowercase(), &invoke))
            && self.resources.iter().any(|resource| matches(resource, arn))
    }
}

/// One string or a list of strings, not empty.
fn strings(statement: &Map<String, Value>, key: &str) -> Result<Vec<String>, MalformedAnswer> {
    let string = |value: &Value| value.as_str().map(str::to_owned).ok_or(MalformedAnswer);
    match statement.get(key) {
        Some(Value::Array(values)) if !values.is_empty() => values.iter().map(string).collect(),
        Some(value) => string(value).map(|value| vec![value]),
        None => Err(MalformedAnswer),
    }
}

/// IAM's wildcards: `*` is any run of characters (`/` and `:` among them), `?` is
/// one. Linear in the pattern times the text, whatever the pattern.
fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // After a `*`: where the pattern goes on, and how much text the star has taken.
    let mut star: Option<(usize, usize)> = None;
    while let Some(&character) = text.get(t) {
        match (pattern.get(p), star) {
            (Some('*'), _) => {
                p += 1;
                star = Some((p, t));
            }
            (Some(&wanted), _) if wanted == '?' || wanted == character => {
                p += 1;
                t += 1;
            }
            (_, Some((after, taken))) => {
                p = after;
                t = taken + 1;
                star = Some((after, t));
            }
            (_, None) => return false,
        }
    }
    pattern.iter().skip(p).all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ARN: &str = "arn:aws:execute-api:us-east-1:000000000000:local/local/GET/api/orders";

    fn statement(effect: &str, resource: &str) -> Value {
        json!({"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource})
    }

    fn allows(statements: &Value) -> bool {
        let document = json!({"Version": "2012-10-17", "Statement": statements});
        Policy::read(&document).unwrap().allows(ARN)
    }

    #[test]
    fn wildcards_match_as_iam_says() {
        let cases = [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
            ("?", "/", true),
            ("a*c", "a/b/c", true),
            ("a*c", "a/b/d", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*?c", "ac", false),
            ("a**", "a", true),
            ("A", "a", false),
            ("*/GET/*", "x/GET/api/orders", true),
            ("*/POST/*", "x/GET/api/orders", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_wildcard_in_the_request_is_only_text() {
        // D34: a request for `/api/*` is not a pattern; only the answer has patterns.
        let policy = json!({"Version": "2012-10-17", "Statement": [statement("Allow", ARN)]});
        let policy = Policy::read(&policy).unwrap();
        assert!(policy.allows(ARN));
        assert!(!policy.allows(&ARN.replace("orders", "*")));
    }

    #[test]
    fn an_explicit_deny_wins_and_silence_is_a_deny() {
        assert!(allows(&json!([statement("Allow", "*")])));
        assert!(allows(&statement("Allow", "*")));
        assert!(!allows(&json!([
            statement("Allow", "*"),
            statement("Deny", ARN)
        ])));
        assert!(!allows(&json!([
            statement("Deny", ARN),
            statement("Allow", "*")
        ])));
        assert!(!allows(&json!([statement("Allow", "*/POST/*")])));
        assert!(!allows(&json!([])));
    }

    #[test]
    fn only_the_invoke_action_opens_the_api() {
        for (action, expected) in [
            ("execute-api:Invoke", true),
            ("EXECUTE-API:*", true),
            ("*", true),
            ("execute-api:ManageConnections", false),
        ] {
            let statement = json!({"Action": [action], "Effect": "Allow", "Resource": [ARN]});
            assert_eq!(allows(&json!([statement])), expected, "{action}");
        }
    }

    #[test]
    fn what_cannot_be_evaluated_is_malformed() {
        let good = json!({"Version": "2012-10-17", "Statement": [statement("Allow", "*")]});
        assert!(Policy::read(&good).is_ok());
        let faults = [
            ("/Version", json!("2020-01-01")),
            ("/Statement", json!("Allow")),
            ("/Statement/0/Effect", json!("allow")),
            ("/Statement/0/Action", json!(1)),
            ("/Statement/0/Resource", json!([])),
            (
                "/Statement/0/Resource",
                json!("x".repeat(LONGEST_RESOURCE + 1)),
            ),
        ];
        for (pointer, value) in faults {
            let mut document = good.clone();
            *document.pointer_mut(pointer).unwrap() = value;
            assert!(Policy::read(&document).is_err(), "{pointer}");
        }
        let mut condition = good;
        condition["Statement"][0]["Condition"] = json!({});
        assert!(Policy::read(&condition).is_err());
    }
}
