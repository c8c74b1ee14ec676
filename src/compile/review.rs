//! What one resource's understanding collects: errors, and the fields that are read but not honored yet.

use std::collections::BTreeMap;

use super::path::Path;
use super::report::Report;
use crate::config::Resource;
use crate::error::{Place, Problem, ResourceName, Severity};
use crate::route::RuleOrigin;

/// Collects the findings of one resource into the report of a publication.
pub(crate) struct Review<'r> {
    report: &'r mut Report,
    name: ResourceName,
    places: &'r dyn Fn(&str) -> Option<Place>,
}

impl<'r> Review<'r> {
    pub(crate) fn new(report: &'r mut Report, name: ResourceName, places: &'r dyn Fn(&str) -> Option<Place>) -> Self {
        Self { report, name, places }
    }

    /// The resource under review.
    pub(crate) fn resource(&self) -> &ResourceName {
        &self.name
    }

    /// Where a field stands.
    pub(crate) fn place(&self, path: &Path<'_>) -> Option<Place> {
        (self.places)(&path.text())
    }

    /// Where the part of a rule was written.
    pub(crate) fn origin(&self, path: &Path<'_>) -> RuleOrigin {
        let path = path.text();
        RuleOrigin { resource: self.name.clone(), place: (self.places)(&path), path }
    }

    /// The resource cannot be used as written.
    pub(crate) fn error(&mut self, path: &Path<'_>, message: impl Into<String>) {
        self.push(Severity::Error, path, message.into());
    }

    /// Something is taken otherwise than its author may think.
    pub(crate) fn warning(&mut self, path: &Path<'_>, message: impl Into<String>) {
        self.push(Severity::Warning, path, message.into());
    }

    /// The same, with what to write instead.
    pub(crate) fn warning_with_help(&mut self, path: &Path<'_>, message: String, help: String) {
        let problem = self.problem(Severity::Warning, path, message).with_help(help);
        self.report.push(problem);
    }

    /// A field is set that nothing reads yet; `why` is added where there is more to say.
    pub(crate) fn not_honored(&mut self, path: &Path<'_>, value: &impl IsSet) {
        if value.is_set() {
            self.push(Severity::Warning, path, "not yet honored".to_owned());
        }
    }

    /// A value of a field that is honored with other values.
    pub(crate) fn value_not_honored(&mut self, path: &Path<'_>, why: &str) {
        self.push(Severity::Warning, path, format!("not yet honored: {why}"));
    }

    /// Something that by Istio means nothing as it stands.
    pub(crate) fn without_effect(&mut self, path: &Path<'_>, why: &str) {
        self.push(Severity::Warning, path, format!("without effect: {why}"));
    }

    /// Names those of `fields` of `path` that are set: they mean nothing there.
    pub(crate) fn all_without_effect(&mut self, path: &Path<'_>, fields: &[(&str, bool)], why: &str) {
        for (field, _) in fields.iter().filter(|(_, set)| *set) {
            self.without_effect(&path.field(field), why);
        }
    }

    /// A part of the resource is left out, as Istio does.
    pub(crate) fn left_out(&mut self, path: &Path<'_>, why: &str) {
        self.push(Severity::Warning, path, format!("left out: {why}"));
    }

    fn push(&mut self, severity: Severity, path: &Path<'_>, message: String) {
        let problem = self.problem(severity, path, message);
        self.report.push(problem);
    }

    fn problem(&self, severity: Severity, path: &Path<'_>, message: String) -> Problem {
        let problem = Problem::new(severity, path.text(), message);
        problem.with_resource(self.name.clone()).with_place(self.place(path))
    }
}

/// The review of a resource whose kind is `kind`.
pub(crate) fn of<T, R>(
    resource: &Resource<T>,
    name: ResourceName,
    report: &mut Report,
    understand: impl FnOnce(&mut Review<'_>) -> R,
) -> R {
    let places = |path: &str| resource.place(path);
    understand(&mut Review::new(report, name, &places))
}

/// Whether a field says anything; proto3 cannot tell an unset plain field from its zero.
pub(crate) trait IsSet {
    fn is_set(&self) -> bool;
}

impl<T> IsSet for Option<T> {
    fn is_set(&self) -> bool {
        self.is_some()
    }
}

impl<T> IsSet for Vec<T> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl<K, V> IsSet for BTreeMap<K, V> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl IsSet for String {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl IsSet for bool {
    fn is_set(&self) -> bool {
        *self
    }
}

impl IsSet for u32 {
    fn is_set(&self) -> bool {
        *self != 0
    }
}

impl IsSet for i32 {
    fn is_set(&self) -> bool {
        *self != 0
    }
}
