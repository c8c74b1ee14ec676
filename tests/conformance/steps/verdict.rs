//! What the gateway says of a configuration without serving it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::{Regex, RegexBuilder, escape};

use crate::case::World;
use crate::expect::{Failures, brief};
use crate::process;
use crate::schema::Verdict;

/// How long `check` may take.
const CHECK: Duration = Duration::from_secs(15);
/// How soon a start on a bad configuration has to fail.
const START: Duration = Duration::from_secs(8);
/// Lines before the place that a message may name instead.
const SLACK: usize = 4;

pub(super) async fn check(world: &World, words: &Verdict) -> Result<(), String> {
    write(world, words)?;
    let finished = process::run(&world.command(&["check"]), CHECK).await?;
    let finished = finished.ok_or_else(|| format!("check does not end in {CHECK:?}"))?;
    let output = finished.stdout + &finished.stderr;
    let mut failures = Failures::default();
    let holds = words.exit.map_or(finished.code == 1, |range| range.holds(f64::from(finished.code)));
    failures.require(holds, || {
        let wanted = words.exit.map_or_else(|| "1".to_owned(), |range| range.to_string());
        format!("check ends with {}, want {wanted}: {:?}", finished.code, end(&output))
    });
    judge_output(world, &output, words, &mut failures)?;
    failures.into_result(String::new)
}

pub(super) async fn start_fails(world: &World, words: &Verdict) -> Result<(), String> {
    write(world, words)?;
    let mut command = world.command(&[]);
    command.extend(["--admin".to_owned(), format!("127.0.0.1:{}", world.admin)]);
    let finished = process::run(&command, START).await?;
    let finished = finished.ok_or("the gateway runs on a bad configuration")?;
    let mut failures = Failures::default();
    failures.require(finished.code != 0, || "exit code 0 on a bad configuration".to_owned());
    judge_output(world, &finished.stderr, words, &mut failures)?;
    failures.into_result(String::new)
}

fn write(world: &World, words: &Verdict) -> Result<(), String> {
    words.config.as_ref().map_or(Ok(()), |config| world.write_config(config))
}

fn end(output: &str) -> String {
    let skip = output.chars().count().saturating_sub(700);
    output.chars().skip(skip).collect()
}

fn judge_output(world: &World, output: &str, words: &Verdict, failures: &mut Failures) -> Result<(), String> {
    for regex in &words.output {
        let pattern =
            RegexBuilder::new(regex).case_insensitive(true).build().map_err(|error| format!("/{regex}/: {error}"))?;
        failures.require(pattern.is_match(output), || format!("the output lacks /{regex}/: {:?}", end(output)));
    }
    let Some(text) = &words.at else { return Ok(()) };
    let (file, line) = line_of(&world.config_folder(), text)?;
    let places = Regex::new(&format!(r"{}:(\d+)", escape(&file))).map_err(|error| error.to_string())?;
    let named: Vec<usize> = places.captures_iter(output).filter_map(|found| found[1].parse().ok()).collect();
    let near = line.saturating_sub(words.slack.unwrap_or(SLACK))..=line + 1;
    failures.require(named.iter().any(|line| near.contains(line)), || {
        format!("the output names no line of {file} near {line} (but {named:?}): {:?}", end(output))
    });
    Ok(())
}

/// The file and line that contain a text first, files in the order of their paths.
fn line_of(folder: &Path, text: &str) -> Result<(String, usize), String> {
    let mut files = Vec::new();
    collect(folder, &mut files).map_err(|error| error.to_string())?;
    files.sort();
    for file in files {
        let content = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        if let Some(index) = content.lines().position(|line| line.contains(text)) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok((name, index + 1));
        }
    }
    Err(format!("no line of the configuration contains {:?}", brief(text, 60)))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
