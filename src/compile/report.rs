//! What a publication came to: [`Report`].
//!
//! ```
//! use mesh_router::config::Config;
//! use mesh_router::mesh::Mesh;
//!
//! let config = Config::from_yaml("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", "a.yaml")?;
//! let report = Mesh::new().apply(config)?;
//! assert_eq!(report.skipped().get("ConfigMap"), Some(&1));
//! assert!(!report.fails_check());
//! # Ok::<(), mesh_router::Error>(())
//! ```

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::error::{Error, Problem, ResourceName, Severity};

/// Everything worth knowing about a publication: what was wrong, what was kept back, what is not honored.
#[must_use = "what is not usable is left out, and this alone says so"]
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub(crate) version: u64,
    pub(crate) problems: Vec<Problem>,
    pub(crate) quarantined: Vec<Quarantined>,
    pub(crate) skipped: BTreeMap<String, usize>,
    pub(crate) refused: Option<Error>,
}

/// A resource that was not usable as written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quarantined {
    /// The resource.
    pub resource: ResourceName,
    /// Whether an earlier version of it goes on serving; else it is left out.
    pub last_good_serves: bool,
}

impl Report {
    /// The version of the snapshot that was published, 0 if none was.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Every problem: errors, unknown fields, dangling references, warnings.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems that are errors: what they are about was kept back or left out.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.is_error())
    }

    /// The resources that were kept back, and whether an earlier version of them serves. A second one of a name,
    /// and what names no resource, is left out and not among them.
    pub fn quarantined(&self) -> &[Quarantined] {
        &self.quarantined
    }

    /// How many documents of other Kubernetes kinds were skipped.
    pub fn skipped(&self) -> &BTreeMap<String, usize> {
        &self.skipped
    }

    /// Why the last change of the files that the mesh follows was not applied: they cannot be read, or are no YAML. What
    /// was applied last goes on serving, and the rest of the report is of that. `None` once they are read well again.
    /// [`Mesh::report`](crate::Mesh::report) has it.
    pub fn refused(&self) -> Option<&Error> {
        self.refused.as_ref()
    }

    /// Whether `check` fails: an error, an unknown field or a dangling reference.
    pub fn fails_check(&self) -> bool {
        self.problems.iter().any(Problem::fails_check)
    }

    /// Whether a strict start refuses: an error or an unknown field.
    pub fn refuses_start(&self) -> bool {
        self.problems.iter().any(Problem::refuses_start)
    }

    /// Adds a problem.
    pub(crate) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Adds what `other` says, beside errors, that is not said yet, but for what an error is about: dangling references,
    /// and warnings of the resources that are kept back here.
    pub(crate) fn add_of_kept_back(&mut self, other: Report) {
        let kept_back: HashSet<_> = self.quarantined.iter().map(|quarantined| &quarantined.resource).collect();
        let about = |problem: &'_ Problem| Some((problem.resource.clone()?, problem.path.clone()));
        let wrong: HashSet<_> = self.errors().filter_map(about).collect();
        let is_told = |problem: &Problem| match problem.severity {
            Severity::Error => false,
            Severity::Reference => about(problem).is_none_or(|about| !wrong.contains(&about)),
            Severity::Warning | Severity::Unknown => about(problem)
                .is_some_and(|(resource, path)| kept_back.contains(&resource) && !wrong.contains(&(resource, path))),
        };
        let known: HashSet<_> = self.problems.iter().map(ToString::to_string).collect();
        let new = |problem: &Problem| is_told(problem) && !known.contains(&problem.to_string());
        let new: Vec<_> = other.problems.into_iter().filter(new).collect();
        self.problems.extend(new);
        self.sort();
    }

    /// Has the problems from the one with this number on say where they are of a last good version: it stands nowhere
    /// any more.
    pub(crate) fn tell_of_last_good(&mut self, from: usize) {
        let kept = self.quarantined.iter().filter(|quarantined| quarantined.last_good_serves);
        let kept: HashSet<_> = kept.map(|quarantined| &quarantined.resource).collect();
        let is_kept = |problem: &&mut Problem| problem.resource.as_ref().is_some_and(|name| kept.contains(name));
        for problem in self.problems.iter_mut().skip(from).filter(is_kept) {
            problem.place = None;
            problem.message.insert_str(0, "of the last good version, which serves: ");
        }
    }

    /// Sorts the problems by their places.
    pub(crate) fn sort(&mut self) {
        self.problems.sort_by(|one, other| one.place.cmp(&other.place));
    }
}

/// One line a problem, one line a quarantined resource, and what is wrong with a change that was refused.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        for quarantined in &self.quarantined {
            let serves = if quarantined.last_good_serves { "its last good version serves" } else { "it is left out" };
            writeln!(f, "{}: quarantined, {serves}", quarantined.resource)?;
        }
        if let Some(refused) = &self.refused {
            writeln!(f, "{refused}\nthe change of files is not applied; what was applied last goes on serving")?;
        }
        Ok(())
    }
}
