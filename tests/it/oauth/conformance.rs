//! `docs/conformance.md` has a row for every demand, and every row has tests that exist.

use super::libraries::cases;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const DOCUMENT: &str = include_str!("../../../docs/conformance.md");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// How many demands each section of our list of specifications has, A1 to A17.
const DEMANDS: [u32; 17] = [19, 5, 4, 6, 5, 6, 10, 10, 7, 4, 5, 5, 3, 2, 13, 4, 11];

/// The demands that are not met yet, as their rows say. This list only shrinks.
const NOT_YET: [&str; 0] = [];

/// A row: what it is called, what we do, and its tests.
struct Row {
    id: &'static str,
    ours: &'static str,
    tests: Vec<&'static str>,
}

fn rows() -> Vec<Row> {
    let lines = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| A"));
    lines
        .map(|line| {
            let line = line.strip_suffix('|').unwrap();
            let cells: Vec<_> = line.split(" | ").map(str::trim).collect();
            let [id, _, _, ours, tests] = cells[..] else {
                panic!("five columns: {line}");
            };
            // Names in backticks, which have commas and spaces inside.
            let tests = tests.split('`').skip(1).step_by(2).collect();
            Row { id, ours, tests }
        })
        .collect()
}

#[test]
fn every_demand_has_a_row_and_no_row_is_without_a_test() {
    let expected: Vec<_> = (1..)
        .zip(DEMANDS)
        .flat_map(|(section, count)| (1..=count).map(move |item| format!("{section}.{item}")))
        .collect();
    let rows = rows();
    let found: Vec<_> = rows.iter().map(|row| row.id).collect();
    assert_eq!(found, expected);
    for row in &rows {
        assert!(!row.ours.is_empty(), "A{}", row.id);
        let is_open = row.ours.starts_with("**Not yet**");
        assert_eq!(is_open, NOT_YET.contains(&row.id), "A{}", row.id);
        assert_eq!(row.tests.is_empty(), is_open, "A{} has no test", row.id);
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let known = known();
    assert!(known.len() > 500, "{}", known.len());
    let rows = rows();
    let names = rows
        .iter()
        .flat_map(|row| row.tests.iter().map(move |test| (row.id, *test)));
    let missing: Vec<_> = names.filter(|(_, test)| !known.contains(*test)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    // The scan finds tests, and not whatever looks like one.
    assert!(!known.contains("known") && !known.contains("a_test_that_nobody_wrote"));
}

/// The names of all test functions, and of the cases of the suites.
fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for file in files(Path::new(ROOT)) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        if file.extension().is_some_and(|extension| extension == "rs") {
            known.extend(functions(&text).map(str::to_owned));
        } else {
            known.extend(cases(&text).map(|case| format!("{name}: {case}")));
        }
    }
    known
}

/// The functions that have the attribute of a test.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[test]")
        .skip(1)
        .chain(text.split("#[tokio::test").skip(1))
        .filter_map(|after| {
            let (_, rest) = after.split_once("fn ")?;
            rest.split_once('(').map(|(name, _)| name)
        })
}

/// The sources of our own.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let foreign = name.starts_with('.') || name == "target" || name == "node_modules";
            if !foreign {
                found.extend(files(&path));
            }
        } else {
            let is_rust = path.extension().is_some_and(|extension| extension == "rs");
            let is_suite = folder.ends_with("tests/oauth") && !name.starts_with("suite.");
            if is_rust || is_suite {
                found.push(path);
            }
        }
    }
    found
}
