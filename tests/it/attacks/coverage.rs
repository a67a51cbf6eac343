//! Every attack in `docs/attacks.md` has a test that carries its number in its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const DOCUMENT: &str = include_str!("../../../docs/attacks.md");

/// The numbers in a row of the tables.
fn listed() -> BTreeSet<u32> {
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| D"));
    rows.map(|row| row.split_once(" | ").unwrap().0.parse().unwrap())
        .collect()
}

/// The numbers in the names of test functions, and where. In Rust a test has its
/// attribute on one of the lines before; in JavaScript and Python, its name in a string
/// or `def test_`.
fn tested() -> BTreeMap<u32, Vec<String>> {
    let mut tested: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let mut folders = vec![Path::new(ROOT).to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_ours = !name.starts_with('.') && name != "target" && name != "node_modules";
            if path.is_dir() && is_ours {
                folders.push(path);
            } else if let Some((_, kind)) = name.rsplit_once('.')
                && let Ok(text) = fs::read_to_string(&path)
            {
                for test in names(kind, &text) {
                    for number in numbers(test) {
                        tested.entry(number).or_default().push(test.to_owned());
                    }
                }
            }
        }
    }
    tested
}

fn names<'a>(kind: &str, text: &'a str) -> Vec<&'a str> {
    match kind {
        "rs" => rust_names(text),
        "mjs" | "js" => ["test('", "test(\"", "it('", "it(\""]
            .iter()
            .flat_map(|start| text.split(start).skip(1))
            .filter_map(|rest| rest.split(['\'', '"']).next())
            .collect(),
        "py" => text
            .split("def test_")
            .skip(1)
            .filter_map(|rest| rest.split('(').next())
            .collect(),
        _ => Vec::new(),
    }
}

fn rust_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ") {
            if is_test && let Some((name, _)) = rest.split_once('(') {
                names.push(name);
            }
            is_test = false;
        }
    }
    names
}

/// `d26` in `d26_d27_two` or `… (D26)`, but not in `sd26`.
fn numbers(name: &str) -> Vec<u32> {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter_map(|word| word.strip_prefix(['d', 'D']))
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[test]
fn every_attack_is_listed_once_and_has_a_test_that_names_it() {
    let (listed, tested) = (listed(), tested());
    assert!(
        listed.is_superset(&(1..=75).collect()),
        "the table is complete"
    );
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| D"));
    assert_eq!(rows.count(), listed.len());
    let without: Vec<_> = listed
        .iter()
        .filter(|number| !tested.contains_key(number))
        .collect();
    assert!(without.is_empty(), "no test names {without:?}");
    let unknown: Vec<_> = tested
        .iter()
        .filter(|(number, _)| !listed.contains(number))
        .collect();
    assert!(unknown.is_empty(), "not in docs/attacks.md: {unknown:?}");
}

#[test]
fn a_number_is_found_in_a_name_and_nowhere_else() {
    assert_eq!(numbers("d16_d17_the_cookie"), [16, 17]);
    assert_eq!(numbers("what_is_malformed_d53"), [53]);
    assert_eq!(numbers("a ticket is no JWT (D29)"), [29]);
    assert!(numbers("sd26_id5x_d_x").is_empty());
    let rust = "#[test]\n#[ignore]\nfn d1_a() {}\nfn d2_b() {}\n// d3\n#[tokio::test(x)]\nasync fn d4_c() {}";
    assert_eq!(rust_names(rust), ["d1_a", "d4_c"]);
    assert_eq!(names("mjs", "test('D5: x', () => {})"), ["D5: x"]);
    assert_eq!(names("py", "def test_d6_y(self):\n"), ["d6_y"]);
}
