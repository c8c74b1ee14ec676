//! The names of cases that do not pass yet. The list only shrinks.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// The list and its file.
#[derive(Debug)]
pub(crate) struct NotYet {
    file: PathBuf,
    names: BTreeSet<String>,
}

impl NotYet {
    /// Reads the list; lines that begin with `#` are remarks.
    pub(crate) fn read(file: PathBuf) -> Result<NotYet, String> {
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let names = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(NotYet { names: names.map(str::to_owned).collect(), file })
    }

    /// A list without names.
    pub(crate) fn none() -> NotYet {
        NotYet { file: PathBuf::new(), names: BTreeSet::new() }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Names no case has.
    pub(crate) fn strangers<'a>(&self, cases: impl Iterator<Item = &'a str>) -> Vec<String> {
        let known: BTreeSet<&str> = cases.collect();
        self.names.iter().filter(|name| !known.contains(name.as_str())).cloned().collect()
    }

    /// Rewrites the file without some names.
    pub(crate) fn remove(&self, passed: &[String]) -> Result<(), String> {
        let text = std::fs::read_to_string(&self.file).map_err(|error| error.to_string())?;
        let kept: Vec<&str> = text.lines().filter(|line| !passed.iter().any(|name| name == line.trim())).collect();
        let text = if kept.is_empty() { String::new() } else { kept.join("\n") + "\n" };
        std::fs::write(&self.file, text).map_err(|error| format!("{}: {error}", self.file.display()))
    }
}
