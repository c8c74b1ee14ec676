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

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Problem, ResourceName, Severity};

/// Everything worth knowing about a publication: what was wrong, what was kept back, what is not honored.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub(crate) version: u64,
    pub(crate) problems: Vec<Problem>,
    pub(crate) quarantined: Vec<Quarantined>,
    pub(crate) skipped: BTreeMap<String, usize>,
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

    /// The problems for which a resource was kept back.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.is_error())
    }

    /// The resources that were kept back, and whether an earlier version of them serves.
    pub fn quarantined(&self) -> &[Quarantined] {
        &self.quarantined
    }

    /// How many documents of other Kubernetes kinds were skipped.
    pub fn skipped(&self) -> &BTreeMap<String, usize> {
        &self.skipped
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

    /// Adds the dangling references of `other` that are not named yet.
    pub(crate) fn add_references(&mut self, other: Report) {
        let references = other.problems.into_iter().filter(|problem| problem.severity == Severity::Reference);
        let new: Vec<_> = references.filter(|problem| !self.problems.contains(problem)).collect();
        self.problems.extend(new);
        self.sort();
    }

    /// Sorts the problems by their places.
    pub(crate) fn sort(&mut self) {
        self.problems.sort_by(|one, other| one.place.cmp(&other.place));
    }
}

/// One line a problem, one line a quarantined resource.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        for quarantined in &self.quarantined {
            let serves = if quarantined.last_good_serves { "its last good version serves" } else { "it is left out" };
            writeln!(f, "{}: quarantined, {serves}", quarantined.resource)?;
        }
        Ok(())
    }
}
