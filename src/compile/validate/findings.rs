//! What was found wrong while a resource was read ([`Findings`]).

use crate::compile::path::Path;
use crate::config::Resource;
use crate::error::{Problem, Severity};

/// The problems of any number of resources, in the order they were found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    problems: Vec<Problem>,
    errors: usize,
}

/// A problem that was just noted, to add a word of help to.
pub(crate) struct Finding<'a>(&'a mut Problem);

impl Finding<'_> {
    /// Says what its author can write instead.
    pub(crate) fn help(self, help: impl Into<String>) {
        self.0.help = Some(help.into());
    }
}

impl Findings {
    /// None so far.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Notes that the resource is not usable as written.
    pub(crate) fn error(&mut self, rule: &'static str, path: &Path<'_>, message: impl Into<String>) -> Finding<'_> {
        self.note(Severity::Error, rule, path, message.into())
    }

    /// Notes something that is taken, but worth knowing.
    pub(crate) fn warning(&mut self, rule: &'static str, path: &Path<'_>, message: impl Into<String>) -> Finding<'_> {
        self.note(Severity::Warning, rule, path, message.into())
    }

    #[cold]
    fn note(&mut self, severity: Severity, rule: &'static str, path: &Path<'_>, message: String) -> Finding<'_> {
        let index = self.problems.len();
        self.errors += usize::from(severity == Severity::Error);
        self.problems.push(Problem::new(severity, path.to_string(), message).with_rule(rule));
        Finding(&mut self.problems[index])
    }

    /// Runs `check` over one resource; every problem it notes gets the resource's name and the place of its path.
    pub(crate) fn about<T>(&mut self, kind: &'static str, resource: &Resource<T>, check: impl FnOnce(&mut Findings)) {
        let start = self.problems.len();
        check(self);
        if self.problems.len() == start {
            return;
        }
        let name = resource.name_of(kind);
        for problem in &mut self.problems[start..] {
            problem.place = resource.place(&problem.path);
            problem.resource = Some(name.clone());
        }
    }

    /// How many problems make their resource unusable.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// All that was found.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
