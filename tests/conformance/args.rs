//! The command line: our own words, and those of libtest that tools pass to any test.

use std::path::PathBuf;

/// How to call the harness.
pub(crate) const USAGE: &str = "\
usage: cargo test --test conformance -- [FILTER...] [OPTION...]

FILTER            run only cases whose AREA/NAME contains it, or begins with it if it has a slash (any of several)
--exact           a filter is the whole name
--skip FILTER     leave out these cases
--list            list the cases and run none
--gateway CMD     judge this gateway command instead of the example; not-yet.txt does not count then
--case-dir DIR    take the cases from here
-j N, --jobs N    cases at once (4); --test-threads N is the same
-v, --verbose     the gateway's output with each failure
--update          remove from not-yet.txt what passes now
";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) filters: Vec<String>,
    pub(crate) skips: Vec<String>,
    pub(crate) exact: bool,
    pub(crate) list: bool,
    /// Names only, as tools read them.
    pub(crate) terse: bool,
    /// Only tests marked as ignored, of which there are none.
    pub(crate) ignored: bool,
    pub(crate) gateway: Option<Vec<String>>,
    pub(crate) case_dir: Option<PathBuf>,
    pub(crate) jobs: usize,
    pub(crate) verbose: bool,
    pub(crate) update: bool,
    pub(crate) help: bool,
}

impl Args {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Args, String> {
        let mut args = Args {
            filters: Vec::new(),
            skips: Vec::new(),
            exact: false,
            list: false,
            terse: false,
            ignored: false,
            gateway: None,
            case_dir: None,
            jobs: 4,
            verbose: false,
            update: false,
            help: false,
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let (name, attached) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
                _ => (word, None),
            };
            let mut value = || attached.clone().or_else(|| words.next()).ok_or_else(|| format!("{name} wants a value"));
            match name.as_str() {
                "--exact" => args.exact = true,
                "--list" => args.list = true,
                "--ignored" => args.ignored = true,
                "--update" => args.update = true,
                "-v" | "--verbose" => args.verbose = true,
                "-h" | "--help" => args.help = true,
                "--skip" => args.skips.push(value()?),
                "--gateway" => args.gateway = Some(split_command(&value()?)?),
                "--case-dir" => args.case_dir = Some(value()?.into()),
                "-j" | "--jobs" | "--test-threads" => {
                    let number = value()?;
                    args.jobs = number.parse().map_err(|_| format!("{name}: {number} is no number"))?;
                }
                "--format" => args.terse = value()? == "terse",
                "--color" | "--logfile" | "--shuffle-seed" | "-Z" => drop(value()?),
                "-q" | "--quiet" | "--nocapture" | "--no-capture" | "--show-output" | "--include-ignored"
                | "--report-time" | "--shuffle" | "--test" | "--bench" => {}
                unknown if unknown.starts_with('-') => return Err(format!("unknown option {unknown}")),
                filter => args.filters.push(filter.to_owned()),
            }
        }
        args.jobs = args.jobs.max(1);
        Ok(args)
    }

    /// Whether a case is asked for.
    pub(crate) fn selects(&self, area: &str, name: &str) -> bool {
        let whole = format!("{area}/{name}");
        let hit = |filter: &String| match self.exact {
            true => *filter == name || *filter == whole,
            false if filter.contains('/') => whole.starts_with(filter.as_str()),
            false => whole.contains(filter.as_str()),
        };
        (self.filters.is_empty() || self.filters.iter().any(hit)) && !self.skips.iter().any(hit) && !self.ignored
    }
}

/// Splits a command at blanks; single and double quotes keep them.
fn split_command(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in text.chars() {
        match (quote, letter) {
            (Some(open), letter) if open == letter => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(format!("an open quote in {text:?}"));
    }
    words.extend(word);
    Ok(words)
}
