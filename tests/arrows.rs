//! The rooms import only what the picture in `src/lib.rs` allows, and nothing goes round.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Words that the rooms share: in the picture they are no arrows.
const SHARED: [&str; 4] = ["error", "dice", "request", "outcome"];

/// Every room with its arrows, as the table in `src/lib.rs` has them.
fn picture() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let rows = text.lines().skip_while(|line| !line.contains("| may use |")).skip(2);
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let mut arrows = BTreeMap::new();
    for row in rows.map_while(|line| line.strip_prefix("//! |")) {
        let cells: Vec<&str> = row.split('|').collect();
        arrows.extend(names(cells[0]).into_iter().map(|room| (room, names(cells[2]))));
    }
    arrows
}

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
fn the_picture_has_the_imports_and_no_others() {
    let (mut picture, mut imports) = (picture(), imports());
    for (room, named) in picture.iter_mut().chain(&mut imports) {
        let shares = !["config", "tls", "outcome"].contains(&room.as_str());
        named.retain(|import| !(shares && SHARED.contains(&import.as_str())));
    }
    assert_eq!(imports, picture);
}

#[test]
fn the_arrows_have_no_circle() {
    let mut left = imports();
    while !left.is_empty() {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        left.retain(|_, named| !named.is_disjoint(&names));
        assert!(left.len() < names.len(), "a circle among {names:?}");
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
