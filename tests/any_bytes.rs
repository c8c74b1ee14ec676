//! The fuzz target's check over documents with mistakes in them: the same ones in every run, with any toolchain.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "fuzz/any_bytes.rs"]
mod any_bytes;

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::thread;

use mesh_router::dice::{Dice, Draws};

const INPUTS: usize = 2000;

/// Every field of every kind.
const FIELDS: &str = include_str!("../src/compile/validate/tests/seed.yaml");

/// Good documents as people write them, and those of [`FIELDS`].
fn seeds() -> Vec<Vec<u8>> {
    let folder = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds")).unwrap();
    let mut files: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("good-"));
    files.sort();
    let written = files.into_iter().map(|path| fs::read(path).unwrap());
    written.chain(FIELDS.split("---\n").map(|document| document.as_bytes().to_vec())).collect()
}

fn below(draws: &mut Draws, bound: usize) -> usize {
    draws.below(bound as u64) as usize
}

/// Some of the bytes, at most so many.
fn some(draws: &mut Draws, bytes: &[u8], most: usize) -> Range<usize> {
    let start = below(draws, bytes.len() + 1);
    start..(start + below(draws, most + 1)).min(bytes.len())
}

/// One of the words, as YAML and rules divide them; nothing where there is none.
fn word(draws: &mut Draws, bytes: &[u8]) -> Range<usize> {
    let ends = |byte: &u8| b" \n:,[]{}'\"".contains(byte);
    let within: Vec<_> = (0..bytes.len()).filter(|&at| !ends(&bytes[at])).collect();
    let at = within.get(below(draws, within.len())).map_or(0, |at| *at);
    let start = bytes[..at].iter().rposition(ends).map_or(0, |before| before + 1);
    start..bytes[at..].iter().position(ends).map_or(bytes.len(), |after| at + after)
}

/// A few documents in one, with a few changes: mostly of whole words, so that many of them are still resources.
fn mutated(draws: &mut Draws, seeds: &[Vec<u8>]) -> Vec<u8> {
    let documents: Vec<_> = (0..=below(draws, 2)).map(|_| &*seeds[below(draws, seeds.len())]).collect();
    let mut bytes = documents.join(&b"\n---\n"[..]);
    for _ in 0..=below(draws, 3) {
        match below(draws, 24) {
            0 => drop(bytes.drain(some(draws, &bytes, 40))),
            1 => {
                let copy = bytes[some(draws, &bytes, 80)].to_vec();
                let at = below(draws, bytes.len() + 1);
                drop(bytes.splice(at..at, copy));
            }
            2 => {
                let at = some(draws, &bytes, 2);
                let random = draws.next_u64().to_le_bytes();
                drop(bytes.splice(at, random.into_iter().take(2)));
            }
            _ => {
                let seed = &seeds[below(draws, seeds.len())];
                let from = seed[word(draws, seed)].to_vec();
                let at = word(draws, &bytes);
                drop(bytes.splice(at, from));
            }
        }
    }
    bytes
}

/// Says what a check broke on.
struct Input<'a>(&'a [u8]);

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", String::from_utf8_lossy(self.0));
        }
    }
}

#[test]
fn documents_with_mistakes_are_taken_or_refused() {
    let (seeds, mut draws) = (seeds(), Dice::seeded(1).draws());
    let (mut loaded, mut routed) = (0, 0);
    for _ in 0..INPUTS {
        let bytes = mutated(&mut draws, &seeds);
        let input = Input(&bytes);
        let found = any_bytes::take(input.0);
        loaded += usize::from(found.is_some());
        routed += usize::from(found.is_some_and(|found| found > 0));
    }
    // Else hardly anything would be tried.
    assert!(loaded > INPUTS / 2 && loaded < INPUTS && routed > INPUTS / 20, "{loaded} {routed}");
}
