//! Documents as people write them: the good ones load, the bad ones are told what is wrong and where.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use mesh_router::config::Config;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds").join(name)).unwrap()
}

fn names(prefix: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    names
}

#[test]
fn good_documents_load() {
    let names = names("good-");
    assert_eq!(names.len(), 21);
    for name in names {
        let config = Config::from_yaml(&read(&name), &name).unwrap();
        assert_eq!(config.problems, [], "{name}");
        let count = config.virtual_services.len()
            + config.destination_rules.len()
            + config.gateways.len()
            + config.service_entries.len();
        assert_eq!(count, 1, "{name}");
        assert!(config.rejected.is_empty() && config.skipped.is_empty(), "{name}");
    }
}

/// The file, and of each problem: the line, the path, a part of the message, a part of the help.
type Expected = (&'static str, &'static [(u32, &'static str, &'static str, &'static str)]);

const BAD: &[Expected] = &[
    (
        "bad-host-beside-destination.yaml",
        &[
            (14, "spec.http[0].route[0].host", "beside \"destination\"", "indent \"host\" by two more spaces"),
            (21, "spec.http[1].route[0].host", "beside \"destination\"", "indent \"host\" by two more spaces"),
        ],
    ),
    ("bad-resolution-case.yaml", &[(22, "spec.resolution", "found the text \"static\"", "write STATIC")]),
    ("bad-fragment-match.yaml", &[(2, "", "a fragment", "below `spec.http` of a VirtualService")]),
    ("bad-fragment-route.yaml", &[(1, "", "a fragment", "below `spec.http` of a VirtualService")]),
    ("bad-ellipsis.yaml", &[(5, "", "an indented `...`", "remove the ellipsis")]),
    ("bad-ellipsis-stream.yaml", &[(5, "", "an indented `...`", "remove the ellipsis")]),
    ("bad-api-version-key.yaml", &[(5, "", "an indented `...`", "remove the ellipsis")]),
    ("bad-prose.yaml", &[(1, "", "expected a resource, found the text", "a resource is a mapping")]),
    ("bad-prose-lines.yaml", &[(1, "", "expected a resource, found the text", "a resource is a mapping")]),
];

#[test]
fn bad_documents_are_told_why() {
    let mut tested: Vec<_> = BAD.iter().map(|(name, _)| (*name).to_owned()).collect();
    tested.sort();
    assert_eq!(tested, names("bad-"));
    for (name, expected) in BAD {
        let problems = match Config::from_yaml(&read(name), name) {
            Ok(config) => config.problems,
            Err(error) => error.problems().to_vec(),
        };
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, (line, path, message, help)) in problems.iter().zip(*expected) {
            assert!(problem.is_error(), "{problem}");
            let place = problem.place.as_ref().unwrap();
            assert_eq!((&*place.file, place.line, &*problem.path), (*name, *line, *path), "{problem}");
            assert!(problem.message.contains(message), "{problem}");
            assert!(problem.help.as_deref().unwrap_or_default().contains(help), "{problem}");
        }
    }
}

#[test]
fn the_misspelt_version_is_told_once_the_ellipsis_is_gone() {
    let text = read("bad-api-version-key.yaml").replace("  ...\n", "");
    let config = Config::from_yaml(&text, "a.yaml").unwrap();
    let told: Vec<_> = config.problems.iter().map(ToString::to_string).collect();
    let expected = "a.yaml:1:1: error: VirtualService default/reviews: piVersion: unknown field \"piVersion\" [V2] \
                    (did you mean \"apiVersion\"?)";
    assert_eq!(told, [expected]);
    assert_eq!(config.rejected[0].to_string(), "VirtualService default/reviews");
}

#[test]
fn an_empty_list_of_rules_decodes() {
    let config = Config::from_yaml(&read("good-empty-http.yaml"), "a.yaml").unwrap();
    assert!(config.virtual_services[0].spec.http.is_empty());
}

#[test]
fn all_good_documents_are_one_stream() {
    let mut text = String::new();
    for (number, name) in names("good-").iter().enumerate() {
        text.push_str("---\n");
        let document = read(name).replace("  namespace: example\n", "");
        text.push_str(&document.replacen("metadata:\n", &format!("metadata:\n  namespace: n{number}\n"), 1));
    }
    let config = Config::from_yaml(&text, "all.yaml").unwrap();
    assert_eq!(config.problems, []);
    for resource in &config.virtual_services {
        let place = resource.place("spec.hosts").unwrap();
        let line = text.lines().nth(place.line as usize - 1).unwrap();
        assert_eq!(&line[place.column as usize - 1..], "hosts:", "{place}");
    }
}
