//! Whatever decodes is judged without a panic, and every problem has a rule, a path and a place.

use proptest::prelude::*;

use super::super::keep_good;
use crate::compile::report::Report;
use crate::config::Config;

/// Every field of every kind, so that changed words reach every rule.
const SEED: &str = include_str!("seed.yaml");

/// Words that stand at the edges of rules.
const WORDS: [&str; 36] = [
    "*",
    "'*'",
    "''",
    "\"\"",
    "~",
    "null",
    "{}",
    "[]",
    ".",
    "/",
    "-1",
    "0",
    "1",
    "100",
    "100.5",
    "65536",
    "0s",
    "1ms",
    "1.5ms",
    "-1s",
    "a",
    "é",
    "'*.a'",
    "'*-a.b'",
    "a/b",
    "a..b",
    "'%'",
    "'%A(%'",
    "'%A([\"\\'",
    "'a('",
    "10.0.0.0/8",
    "'::1%'",
    "'unix://'",
    "'@request.auth.claims[é]'",
    "true",
    "{a: b}",
];

fn judge(yaml: &str) {
    let Ok(mut config) = Config::from_yaml(yaml, "a.yaml") else { return };
    let (mut report, mut bad) = (Report::default(), Vec::new());
    keep_good(&mut config, &mut report, &mut bad);
    for problem in report.problems() {
        assert!(problem.rule.is_some(), "{problem}");
        assert!(problem.place.is_some(), "{problem}");
        assert!(problem.path.starts_with("spec") || problem.path.starts_with("metadata"), "{problem}");
        assert!(problem.resource.is_some(), "{problem}");
    }
}

/// The documents of the seed.
fn documents() -> Vec<&'static str> {
    SEED.split("---\n").collect()
}

/// The values of a document: where each begins and ends.
fn values(document: &str) -> Vec<(usize, usize)> {
    let mut values = Vec::new();
    let mut at = 0;
    for line in document.split_inclusive('\n') {
        let text = line.trim_end();
        if let Some(colon) = text.find(": ").map(|colon| colon + 2) {
            values.push((at + colon, at + text.len()));
        } else if let Some(dash) = text.find("- ").map(|dash| dash + 2) {
            values.push((at + dash, at + text.len()));
        }
        at += line.len();
    }
    values
}

/// A document with some of its values replaced.
fn changed(document: &str, changes: &[(usize, String)]) -> String {
    let values = values(document);
    let mut changes: Vec<_> = changes.iter().map(|(at, word)| (values[at % values.len()], word)).collect();
    changes.sort_by_key(|(range, _)| std::cmp::Reverse(*range));
    changes.dedup_by_key(|(range, _)| *range);
    let mut yaml = document.to_owned();
    for ((start, end), word) in changes {
        yaml.replace_range(start..end, word);
    }
    yaml
}

#[test]
fn the_seed_is_read_and_good() {
    let config = Config::from_yaml(SEED, "a.yaml").unwrap();
    assert_eq!(config.problems, []);
    let (mut config, mut report, mut bad) = (config, Report::default(), Vec::new());
    keep_good(&mut config, &mut report, &mut bad);
    assert_eq!(bad, []);
    assert!(report.errors().next().is_none(), "{report}");
}

#[test]
fn every_value_takes_words_at_the_edges() {
    for document in documents() {
        for at in 0..values(document).len() {
            // One word in six for each value: all of them take a minute.
            for word in WORDS.iter().skip(at % 6).step_by(6) {
                judge(&changed(document, &[(at, (*word).to_owned())]));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn several_values_take_any_words(
        document in proptest::sample::select(documents()),
        changes in proptest::collection::vec((any::<usize>(), prop_oneof![
            proptest::sample::select(WORDS.to_vec()).prop_map(str::to_owned),
            "'[^'\\p{C}]{0,70}'",
            "-?[0-9]{1,20}(ms|s|h)?",
        ]), 1..8),
    ) {
        judge(&changed(document, &changes));
    }
}
