//! The statements of a policy: what an answer is about, and nothing else (D77).

use super::arn::MethodArn;
use cloakroom_domain::policy::Reach;
use cloakroom_domain::target::{self, Reading};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::OnceLock;

/// A statement.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Statement {
    action: &'static str,
    effect: &'static str,
    resource: Resources,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Resources {
    One(String),
    Many(Vec<String>),
    Fixed(&'static RawValue),
}

impl Statement {
    pub(super) fn allow(resources: Vec<String>) -> Self {
        Self::new("Allow", resources)
    }

    pub(super) fn deny(resources: Vec<String>) -> Self {
        Self::new("Deny", resources)
    }

    fn new(effect: &'static str, mut resources: Vec<String>) -> Self {
        let resource = match resources.pop() {
            Some(one) if resources.is_empty() => Resources::One(one),
            last => {
                resources.extend(last);
                Resources::Many(resources)
            }
        };
        Self {
            action: "execute-api:Invoke",
            effect,
            resource,
        }
    }
}

/// Allows one route alone: its path with `*` for its variables, but for what that also
/// covers. `None` if the requested path itself would not be allowed so, or the route has no
/// such path.
///
/// It is about the requested method, or about all that an `ANY` route takes where the key of
/// the gateway's cache (`by_route_key`) does not hold the method either.
pub(super) fn route(
    arn: &MethodArn<'_>,
    reach: &Reach,
    by_route_key: bool,
) -> Option<Vec<Statement>> {
    let (method, path) = (arn.method(), arn.whole_path());
    let methods = if by_route_key && reach.is_any && METHODS.contains(&&*method) {
        METHODS.to_vec()
    } else {
        vec![&*method]
    };
    let covering = |path: &str| -> Option<Vec<_>> {
        let all = methods.iter().map(|method| arn.covering(method, path));
        all.collect()
    };
    let allow = || Some(Statement::allow(covering(&reach.path)?));
    if !reach.has_wildcards() {
        return (reach.path == path).then(allow)?.map(|allow| vec![allow]);
    }
    let is_denied = reach.except.iter().any(|pattern| matches(pattern, path))
        || (path.contains('%') && !Reading::Routed.accepts(path));
    if is_denied || !matches(&reach.path, path) {
        return None;
    }
    let mut statements = vec![allow()?];
    let except: Option<Vec<_>> = reach.except.iter().map(|path| covering(path)).collect();
    let except = except?.concat();
    if !except.is_empty() {
        statements.push(Statement::deny(except));
    }
    statements.push(Statement {
        resource: Resources::Fixed(refused(arn.partition())?),
        ..Statement::deny(Vec::new())
    });
    Some(statements)
}

/// What `ANY` stands for. `*` in its place would span into the path.
pub(super) const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

/// Allows the requested path alone.
pub(super) fn path(arn: &MethodArn<'_>) -> Option<Vec<Statement>> {
    Some(vec![Statement::allow(vec![arn.alone()?])])
}

/// What no route takes, in any API: the same for every answer, so written once.
fn refused(partition: &str) -> Option<&'static RawValue> {
    static WRITTEN: OnceLock<(String, Box<RawValue>)> = OnceLock::new();
    if WRITTEN.get().is_none() {
        let list: Vec<_> = target::refused_patterns()
            .iter()
            .map(|pattern| format!("arn:{partition}:execute-api:*:*:{pattern}"))
            .collect();
        let written = serde_json::value::to_raw_value(&list).ok()?;
        let _ = WRITTEN.set((partition.to_owned(), written));
    }
    // A function is in one partition; an event of another gets the requested path alone.
    let (known, written) = WRITTEN.get()?;
    (known == partition).then_some(&**written)
}

/// Whether a pattern covers a text: `*` is any run of characters, as in ARNs.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
