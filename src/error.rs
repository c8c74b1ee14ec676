//! What is wrong with a configuration, and where: [`Problem`], [`Place`] and [`Error`].
//!
//! ```
//! use mesh_router::config::Config;
//!
//! let error = Config::from_yaml("apiVersion: [unclosed", "mesh.yaml").unwrap_err();
//! assert!(error.to_string().contains("mesh.yaml:1"), "{error}");
//! ```

use std::fmt;
use std::sync::Arc;

/// A position in a file: line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Place {
    /// The file as it was named when it was read.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl Place {
    /// A place in `file`.
    pub fn new(file: impl Into<Arc<str>>, line: u32, column: u32) -> Self {
        Self { file: file.into(), line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// How much a [`Problem`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// Taken, but worth knowing.
    Warning,
    /// A field that nothing knows. The library takes it; a strict start refuses it ([`Problem::refuses_start`]).
    Unknown,
    /// A reference to something that is not there, or is of a kind that is not read. Istio takes it, and what needs it
    /// does not work; `check` fails on it.
    Reference,
    /// The resource is not usable as written.
    Error,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Unknown | Severity::Reference | Severity::Error => "error",
        }
    }
}

/// The name of a resource: kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceName {
    /// The kind, for example `VirtualService`.
    pub kind: Arc<str>,
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// One thing that is wrong, or worth knowing, about a configuration.
///
/// Displayed on one line as `FILE:LINE:COLUMN: error: KIND NAMESPACE/NAME: FIELD.PATH: message [RULE] (help)`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// The rule of Istio's validation that it breaks (`VH5`), where there is one.
    pub rule: Option<&'static str>,
    /// The resource, as far as it is known.
    pub resource: Option<ResourceName>,
    /// The path of the field (`spec.http[2].match[0].uri.regex`), empty for the whole document.
    pub path: String,
    /// Where it stands, as far as it is known.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What its author can do.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at no place yet; see the `with_*` methods.
    pub fn new(severity: Severity, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity,
            rule: None,
            resource: None,
            path: path.into(),
            place: None,
            message: message.into(),
            help: None,
        }
    }

    /// Names the rule that is broken.
    #[must_use]
    pub fn with_rule(mut self, rule: &'static str) -> Self {
        self.rule = Some(rule);
        self
    }

    /// Names the resource.
    #[must_use]
    pub fn with_resource(mut self, resource: ResourceName) -> Self {
        self.resource = Some(resource);
        self
    }

    /// Names the place.
    #[must_use]
    pub fn with_place(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether the resource cannot be used as written.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Whether `check` fails on it: errors, unknown fields and dangling references.
    pub fn fails_check(&self) -> bool {
        self.severity > Severity::Warning
    }

    /// Whether a strict start refuses it: errors and unknown fields, but not dangling references.
    pub fn refuses_start(&self) -> bool {
        matches!(self.severity, Severity::Error | Severity::Unknown)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        // What is about nothing in particular, as a file that is not there, says it all.
        if self.place.is_some() || self.resource.is_some() || !self.path.is_empty() || !self.is_error() {
            write!(f, "{}: ", self.severity.word())?;
        }
        if let Some(resource) = &self.resource {
            write!(f, "{resource}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(rule) = self.rule {
            write!(f, " [{rule}]")?;
        }
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text is no YAML, or over a bound.
    Syntax,
    /// Resources are not usable as written and strictness was asked for.
    Invalid,
    /// A file or folder could not be read or watched, or a port could not be opened. That of files has the first
    /// [`std::io::Error`] of them as its source.
    Io,
}

/// Why a configuration was refused, with every problem that was found.
///
/// ```
/// use mesh_router::config::Config;
///
/// let error = Config::from_yaml("kind: {{{", "a.yaml").unwrap_err();
/// assert!(error.is_syntax());
/// assert_eq!(error.problems().len(), 1);
/// ```
#[derive(Clone)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    problems: Vec<Problem>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error made of `problems`.
    pub(crate) fn new(kind: ErrorKind, problems: Vec<Problem>) -> Self {
        Self { inner: Box::new(Inner { kind, problems, source: None }) }
    }

    /// An input or output error with what was tried.
    #[cfg(feature = "gateway")]
    pub(crate) fn io(message: impl Into<String>, source: std::io::Error) -> Self {
        let problem = Problem::new(Severity::Error, "", format!("{}: {source}", message.into()));
        Self::new(ErrorKind::Io, vec![problem]).caused_by(source)
    }

    /// The same, with the error below it.
    #[cfg(any(feature = "file", feature = "gateway"))]
    pub(crate) fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.inner.source = Some(Arc::new(source));
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Every problem found, in the order of the files.
    pub fn problems(&self) -> &[Problem] {
        &self.inner.problems
    }

    /// Whether the text was no YAML or over a bound.
    pub fn is_syntax(&self) -> bool {
        self.inner.kind == ErrorKind::Syntax
    }

    /// Whether resources were not usable as written.
    pub fn is_invalid(&self) -> bool {
        self.inner.kind == ErrorKind::Invalid
    }

    /// Whether a file or port could not be used.
    pub fn is_io(&self) -> bool {
        self.inner.kind == ErrorKind::Io
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.inner.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("kind", &self.inner.kind).field("problems", &self.inner.problems).finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.inner.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

/// A boxed error, tower's convention for middleware.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
