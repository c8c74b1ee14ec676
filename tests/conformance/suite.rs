//! Runs the cases, some at once, and adds up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::args::Args;
use crate::case::{self, Means};
use crate::not_yet::NotYet;
use crate::schema::Case;

/// Every case under a folder, in the order of paths; a name that is there twice is an error.
pub(crate) fn load(folder: &Path) -> Result<Vec<Arc<Case>>, String> {
    let mut files = Vec::new();
    collect(folder, &mut files).map_err(|error| format!("{}: {error}", folder.display()))?;
    files.sort();
    let mut cases = Vec::new();
    let mut names = BTreeSet::new();
    for file in &files {
        let case = Case::load(file)?;
        if !names.insert(case.name.clone()) {
            return Err(format!("{}: the name {} is there twice", file.display(), case.name));
        }
        cases.push(Arc::new(case));
    }
    Ok(cases)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    Ok(())
}

/// Prints the cases.
pub(crate) fn list(cases: &[Arc<Case>], terse: bool) {
    for case in cases {
        match terse {
            true => println!("{}/{}: test", case.area, case.name),
            false => println!("{:<60} {}", format!("{}/{}", case.area, case.name), case.why),
        }
    }
    if !terse {
        println!("{} cases", cases.len());
    }
}

/// How the cases came out.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// Cases of not-yet.txt that pass.
    passes_now: Vec<String>,
}

/// Runs the cases; tells whether all is as it should be.
pub(crate) async fn run(cases: Vec<Arc<Case>>, means: Means, not_yet: &NotYet, args: &Args) -> Result<bool, String> {
    let means = Arc::new(means);
    let places = Arc::new(Semaphore::new(args.jobs));
    let mut running = JoinSet::new();
    for case in cases {
        let (means, places) = (means.clone(), places.clone());
        running.spawn(async move {
            let _place = places.acquire_owned().await;
            let start = Instant::now();
            let outcome = case::run(case.clone(), means).await;
            (case, outcome, start.elapsed())
        });
    }
    let mut tally = Tally::default();
    while let Some(done) = running.join_next().await {
        let (case, outcome, took) = done.map_err(|error| error.to_string())?;
        // one line a case, unless the gateway's output is wanted
        let outcome = outcome.map_err(|why| if args.verbose { why } else { why.trim().replace('\n', " | ") });
        tally.count(&case, outcome, took, not_yet, args.update);
    }
    if args.update {
        not_yet.remove(&tally.passes_now)?;
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    Ok(tally.failed == 0)
}

impl Tally {
    fn count(&mut self, case: &Case, outcome: Result<(), String>, took: Duration, not_yet: &NotYet, update: bool) {
        let name = format!("{}/{} ({:.1}s)", case.area, case.name, took.as_secs_f64());
        match (outcome, not_yet.has(&case.name)) {
            (Ok(()), false) => {
                self.passed += 1;
                println!("ok   {name}");
            }
            (Ok(()), true) => {
                self.passes_now.push(case.name.clone());
                if update {
                    self.passed += 1;
                    println!("ok   {name}: passes now, removed from not-yet.txt");
                } else {
                    self.failed += 1;
                    println!("FAIL {name}: passes now: remove it from not-yet.txt");
                }
            }
            (Err(why), true) => {
                self.skipped += 1;
                println!("skip {name}: not yet: {why}");
            }
            (Err(why), false) => {
                self.failed += 1;
                println!("FAIL {name}: {why}");
            }
        }
    }
}
