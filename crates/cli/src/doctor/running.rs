//! What runs of what was asked for: a deploy changes `$LATEST` of each function, and
//! the API calls the alias `live`.

use super::stack::{ALIAS, FUNCTIONS, Function};
use super::{Findings, Outcome};
use std::collections::{BTreeMap, BTreeSet};

const DEPLOY: &str = "run `sam build && sam deploy`, and look at the stack's events if it stays so";

/// A function as it was asked for, and as it is called.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) name: &'static str,
    pub(super) latest: Function,
    pub(super) live: Function,
    /// The share of calls that another version takes, while a deploy is under way.
    pub(super) shifted: Option<f64>,
}

/// Compares the two, and the functions with each other.
pub(super) fn look(pairs: &[Pair], findings: &mut Findings) {
    let faults: Vec<_> = pairs.iter().flat_map(differences).collect();
    if faults.is_empty() {
        let versions: Vec<_> = pairs
            .iter()
            .map(|pair| format!("{} {}", pair.name, pair.live.version))
            .collect();
        let detail = format!("what was asked for; versions {}", versions.join(", "));
        findings.note("what runs", Ok(detail));
    }
    for fault in faults {
        findings.note("what runs", Err(fault));
    }
    findings.note("release", release(pairs));
}

/// Names what is another in `$LATEST` than in the version that the API calls. Values stay
/// out: some are secret.
fn differences(pair: &Pair) -> Vec<String> {
    let Pair {
        name,
        latest,
        live,
        shifted,
    } = pair;
    if let Some(share) = shifted {
        let percent = share * 100.0;
        return vec![format!(
            "{name}: a deploy is under way, another version takes {percent:.0} % of the calls: wait until it has ended"
        )];
    }
    let mut what = changed_names(&latest.variables, &live.variables);
    for (part, same) in [
        ("the configuration (layer)", latest.layers == live.layers),
        ("the code", latest.code == live.code),
        (
            "memory, time limit or architecture",
            latest.size == live.size,
        ),
    ] {
        if !same {
            what.push(part.to_owned());
        }
    }
    if what.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "{name}: version {} runs, and does not have what was asked for: {}; {DEPLOY}",
        live.version,
        what.join(", ")
    )]
}

fn changed_names(asked: &BTreeMap<String, String>, runs: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<_> = asked.keys().chain(runs.keys()).collect();
    names
        .into_iter()
        .filter(|name| asked.get(*name) != runs.get(*name))
        .cloned()
        .collect()
}

/// Whether all functions are of one release, asked for and running.
fn release(pairs: &[Pair]) -> Outcome {
    let mut numbers: BTreeMap<Option<u64>, Vec<String>> = BTreeMap::new();
    for Pair {
        name, latest, live, ..
    } in pairs
    {
        let asked = numbers.entry(number(&latest.description)).or_default();
        asked.push(format!("{name} ($LATEST)"));
        let runs = numbers.entry(number(&live.description)).or_default();
        runs.push(format!("{name} ({ALIAS})"));
    }
    if numbers.len() == 1 && pairs.len() == FUNCTIONS.len() {
        return match numbers.into_keys().next().flatten() {
            Some(number) => Ok(format!("{number}, in all functions")),
            None => Err(format!("no function has a number: {DEPLOY}")),
        };
    }
    let said: Vec<_> = numbers
        .into_iter()
        .map(|(number, whose)| {
            let number = number.map_or_else(|| "none".to_owned(), |number| number.to_string());
            format!("{number} in {}", whose.join(", "))
        })
        .collect();
    Err(format!(
        "not the same for all: {}; {DEPLOY}",
        said.join("; ")
    ))
}

/// `Release 12. …` of a function, `Release 12` of a version.
fn number(description: &str) -> Option<u64> {
    let rest = description.strip_prefix("Release ")?;
    rest.split(['.', ' ']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(description: &str) -> Function {
        Function {
            version: "7".to_owned(),
            description: description.to_owned(),
            variables: BTreeMap::from([("CLOAKROOM_ISSUER".to_owned(), "a".to_owned())]),
            layers: vec!["layer:1".to_owned()],
            code: "sha".to_owned(),
            size: "512 10 arm64".to_owned(),
        }
    }

    fn pairs() -> Vec<Pair> {
        let pair = |name| Pair {
            name,
            latest: function("Release 12. What it does"),
            live: function("Release 12"),
            shifted: None,
        };
        FUNCTIONS.map(pair).into()
    }

    fn said(change: impl FnOnce(&mut Vec<Pair>)) -> Vec<String> {
        let mut pairs = pairs();
        change(&mut pairs);
        let mut findings = Findings::default();
        look(&pairs, &mut findings);
        let wrong = findings.0.into_iter().filter(|check| !check.ok);
        wrong
            .map(|check| format!("{}: {}", check.name, check.detail))
            .collect()
    }

    #[test]
    fn a_stack_that_runs_what_was_asked_for_is_good() {
        assert_eq!(said(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_named_and_no_value() {
        type Change = fn(&mut Function);
        let cases: [(&str, Change); 5] = [
            ("CLOAKROOM_ISSUER", |live| {
                live.variables
                    .insert("CLOAKROOM_ISSUER".to_owned(), "secret".to_owned());
            }),
            ("CLOAKROOM_NEW", |live| {
                live.variables
                    .insert("CLOAKROOM_NEW".to_owned(), "secret".to_owned());
            }),
            ("layer", |live| live.layers = vec!["layer:2".to_owned()]),
            ("code", |live| live.code = "other".to_owned()),
            ("memory", |live| live.size = "128 10 arm64".to_owned()),
        ];
        for (name, change) in cases {
            let lines = said(|pairs| change(&mut pairs[2].live));
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(
                lines[0].starts_with("what runs: token: version 7 runs"),
                "{lines:?}"
            );
            assert!(
                lines[0].contains(name) && !lines[0].contains("secret"),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn another_release_anywhere_is_found() {
        for index in 0..4 {
            let lines = said(|pairs| pairs[index].live.description = "Release 11".to_owned());
            assert!(
                lines[0].starts_with("release: not the same for all: 11 in"),
                "{lines:?}"
            );
            let lines = said(|pairs| pairs[index].latest.description = "Swaps tokens".to_owned());
            assert!(lines[0].contains("none in"), "{lines:?}");
        }
        let none = said(|pairs| {
            for pair in pairs {
                pair.live.description = String::new();
                pair.latest.description = String::new();
            }
        });
        assert!(none[0].contains("no function has a number"), "{none:?}");
    }

    #[test]
    fn a_deploy_that_is_under_way_is_no_difference() {
        let lines = said(|pairs| {
            pairs[0].shifted = Some(0.1);
            pairs[0].latest.code = "new".to_owned();
        });
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("takes 10 % of the calls"), "{lines:?}");
    }

    #[test]
    fn a_number_is_read_from_both_descriptions() {
        assert_eq!(number("Release 12. Swaps"), Some(12));
        assert_eq!(number("Release 12"), Some(12));
        for none in ["", "Release", "Release x", "release 12", "A Release 12"] {
            assert_eq!(number(none), None, "{none}");
        }
    }
}
