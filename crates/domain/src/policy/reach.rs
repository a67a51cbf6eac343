//! How far the policy of an answer may reach.
//!
//! API Gateway may keep an answer, and evaluates its policy for each request that comes with
//! the same cache key. If the key is the token alone, these are requests to any route. So the
//! policy allows no more than the route that was found, and denies what the wildcards of its
//! path also cover: in ARNs `*` spans slashes (D77).

use super::{CONNECT, PathPattern, Policy, Segment};
use crate::config::RouteConfig;
use crate::target::is_unreserved;
use std::collections::BTreeMap;

/// What a policy that allows one route covers. Paths begin with `/`; `*` in them stands for
/// any text, as in ARNs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reach {
    /// The route's path, its variables as `*`. Empty if no path can stand for the route:
    /// the policy must then be about the requested path alone.
    pub path: String,
    /// What `path` also covers, though other routes, or none, are there.
    pub except: Vec<String>,
    /// Whether the route takes every method.
    pub is_any: bool,
}

impl Reach {
    /// Whether a policy can cover all of the route, and only that.
    pub fn is_bounded(&self) -> bool {
        !self.path.is_empty()
    }

    /// Whether the path has variables.
    pub fn has_wildcards(&self) -> bool {
        self.path.contains('*')
    }
}

/// More would not fit into an answer beside a JWT.
const MOST_EXCEPTIONS: usize = 24;
const MOST_BYTES: usize = 1_000;

/// The reach of each route. `plain` is the policy of these routes.
pub(super) fn all(routes: &[(PathPattern, &RouteConfig)], plain: &Policy) -> Vec<Reach> {
    let places: BTreeMap<_, _> = routes
        .iter()
        .filter(|(_, route)| route.method != CONNECT)
        .map(|(pattern, _)| (pattern.shape(), pattern))
        .collect();
    let reach = |(pattern, route): &(PathPattern, &RouteConfig)| of(pattern, route, &places, plain);
    routes.iter().map(reach).collect()
}

fn of(
    pattern: &PathPattern,
    route: &RouteConfig,
    places: &BTreeMap<String, &PathPattern>,
    plain: &Policy,
) -> Reach {
    let path = written(&pattern.0, str::to_owned);
    let is_any = route.method == "ANY";
    if pattern.is_literal() {
        return Reach {
            path,
            except: Vec::new(),
            is_any,
        };
    }
    let mut except = longer(&pattern.0);
    for other in places.values() {
        if let Some(both) = intersection(&pattern.0, &other.0)
            && is_anothers(&both, pattern, route, plain)
        {
            except.push(written(&both, wild));
        }
    }
    except.sort_unstable();
    except.dedup();
    let bytes: usize = except.iter().map(String::len).sum();
    if except.len() > MOST_EXCEPTIONS || bytes > MOST_BYTES || except.contains(&path) {
        return Reach::default();
    }
    Reach {
        path,
        except,
        is_any,
    }
}

/// The path with more segments than it has: one `*` that spans a slash. Those that a greedy
/// variable takes in are its own.
fn longer(segments: &[Segment]) -> Vec<String> {
    let greedy_from = match segments.last() {
        Some(Segment::Greedy) => segments
            .iter()
            .rposition(|segment| matches!(segment, Segment::Literal(_)))
            .map_or(0, |last| last + 1),
        _ => segments.len(),
    };
    let narrow = segments.iter().take(greedy_from).enumerate();
    narrow
        .filter(|(_, segment)| **segment == Segment::Variable)
        .map(|(at, _)| {
            let mut longer = segments.to_vec();
            longer.insert(at, Segment::Variable);
            written(&longer, str::to_owned)
        })
        .collect()
}

/// Whether a request to what two paths have in common is for another route, which may ask
/// for something else, or for none.
fn is_anothers(
    both: &[Segment],
    pattern: &PathPattern,
    route: &RouteConfig,
    plain: &Policy,
) -> bool {
    // No literal of a route, so that a variable takes it.
    let instance = both
        .iter()
        .fold(String::new(), |path, segment| match segment {
            Segment::Literal(text) => path + "/" + text,
            Segment::Variable | Segment::Greedy => path + "/~~",
        });
    let differs = |method: &str| {
        plain.find(method, &instance).is_none_or(|found| {
            let is_here = PathPattern::parse(&found.path)
                .is_some_and(|there| there.shape() == pattern.shape());
            !is_here && (found.demands() != route.demands() || !found.fields.is_empty())
        })
    };
    match route.method.as_str() {
        "ANY" => crate::config::METHODS
            .iter()
            .any(|method| !["ANY", CONNECT].contains(method) && differs(method)),
        method => differs(method),
    }
}

/// What both patterns match.
fn intersection(ours: &[Segment], theirs: &[Segment]) -> Option<Vec<Segment>> {
    let (mut ours, mut theirs) = (ours.iter(), theirs.iter());
    let mut both = Vec::new();
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return Some(both),
            (None, Some(_)) | (Some(_), None) => return None,
            (Some(Segment::Greedy), Some(segment)) => {
                both.push(segment.clone());
                both.extend(theirs.cloned());
                return Some(both);
            }
            (Some(segment), Some(Segment::Greedy)) => {
                both.push(segment.clone());
                both.extend(ours.cloned());
                return Some(both);
            }
            (Some(Segment::Literal(one)), Some(Segment::Literal(other))) if one != other => {
                return None;
            }
            (Some(Segment::Variable), Some(segment)) | (Some(segment), Some(_)) => {
                both.push(segment.clone());
            }
        }
    }
}

fn written(segments: &[Segment], literal: impl Fn(&str) -> String) -> String {
    let path = segments.iter().fold(String::new(), |path, segment| {
        path + "/"
            + &match segment {
                Segment::Literal(text) => literal(text),
                Segment::Variable | Segment::Greedy => "*".to_owned(),
            }
    });
    if path.is_empty() {
        "/".to_owned()
    } else {
        path
    }
}

/// A literal in whatever spelling: what may be percent-encoded, or is, becomes a `*`.
fn wild(literal: &str) -> String {
    let mut parts = literal.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push('*');
        text.push_str(part.get(2..).unwrap_or_default());
    }
    let wild = |byte: u8| {
        if is_unreserved(byte) {
            char::from(byte)
        } else {
            '*'
        }
    };
    text.bytes().map(wild).collect()
}
