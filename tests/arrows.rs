//! The rooms import only what the picture in `src/lib.rs` allows, and nothing goes round.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Room, and the rooms it may import.
const ARROWS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("dice", &[]),
    ("options", &["config"]),
    ("outcome", &["error"]),
    ("request", &[]),
    ("config", &["error"]),
    ("route", &["error", "request", "outcome", "dice", "options"]),
    ("upstream", &["error", "request", "outcome", "dice"]),
    ("telemetry", &["upstream", "request", "outcome", "options"]),
    ("snapshot", &["error", "options", "request", "route", "upstream", "telemetry"]),
    (
        "compile",
        &["config", "dice", "error", "options", "request", "snapshot", "route", "upstream", "telemetry", "tls"],
    ),
    ("mesh", &["compile", "config", "dice", "error", "options", "request", "snapshot", "upstream"]),
    (
        "service",
        &["mesh", "snapshot", "route", "upstream", "telemetry", "error", "request", "outcome", "dice", "options"],
    ),
    ("tls", &["upstream", "snapshot"]),
    ("transport", &["upstream", "request", "outcome", "telemetry", "error", "service", "tls"]),
    ("integrate", &["service", "mesh", "request", "outcome", "error"]),
    ("source", &["mesh", "config", "error", "options"]),
    (
        "gateway",
        &[
            "service",
            "transport",
            "source",
            "mesh",
            "snapshot",
            "telemetry",
            "error",
            "request",
            "dice",
            "outcome",
            "upstream",
            "route",
            "tls",
        ],
    ),
];

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The code of a file without its comments and without the unit tests at its end, which are no file of their own.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every room with the rooms that its code names as `crate::room`.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let below = file.strip_prefix(&source).unwrap();
        if below.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs") {
            continue;
        }
        let room = below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if room == "lib" {
            continue;
        }
        let named = imports.entry(room.clone()).or_default();
        for after in code(&file).split("crate::").skip(1) {
            let used: String = after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            assert!(!used.is_empty(), "{file:?} names several rooms in one import");
            if used != room {
                named.insert(used);
            }
        }
    }
    imports
}

#[test]
fn every_import_is_an_arrow_of_the_picture() {
    let rooms: Vec<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    for (room, named) in imports() {
        let allowed =
            ARROWS.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("the room {room} is new")).1;
        for import in named.iter().filter(|import| rooms.contains(&import.as_str())) {
            assert!(allowed.contains(&import.as_str()), "{room} imports {import}");
        }
    }
}

#[test]
fn the_arrows_have_no_circle() {
    let mut left: Vec<_> = ARROWS.to_vec();
    while !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|(room, _)| *room).collect();
        let before = left.len();
        left.retain(|(_, arrows)| arrows.iter().any(|arrow| names.contains(arrow)));
        assert!(left.len() < before, "a circle among {names:?}");
    }
}

#[test]
fn only_one_file_names_the_yaml_crate() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let is_test = |file: &&PathBuf| file.components().any(|part| part.as_os_str() == "tests");
    let naming = files.iter().filter(|file| !is_test(file) && code(file).contains("serde_yaml"));
    let naming: Vec<_> = naming.map(|file| file.strip_prefix(&source).unwrap()).collect();
    assert_eq!(naming, [Path::new("config/yaml.rs")]);
}
