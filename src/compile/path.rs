//! Where a field stands in a resource ([`Path`]), linked on the stack.

use std::fmt;

/// The way from the root of a resource to one of its fields.
///
/// Each step lives on the stack of the function that takes it and points at the one before: walking a sound resource
/// allocates nothing. [`Display`](fmt::Display) writes `spec.http[2].match[0].uri.regex`, which is what
/// [`Resource::place`](crate::config::Resource::place) looks up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Item(&'a str, usize),
    Key(&'a str),
    Entry(&'a str, &'a str),
}

impl<'a> Path<'a> {
    /// The start: `spec`, or `metadata`.
    pub(crate) const fn root(name: &'a str) -> Self {
        Self { parent: None, step: Step::Field(name) }
    }

    /// A field of the message at this path.
    pub(crate) const fn field<'b>(&'b self, name: &'b str) -> Path<'b>
    where
        'a: 'b,
    {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    /// An element of the list at this path.
    pub(crate) const fn index<'b>(&'b self, index: usize) -> Path<'b>
    where
        'a: 'b,
    {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// The value of `key` in the map at this path.
    pub(crate) const fn key<'b>(&'b self, key: &'b str) -> Path<'b>
    where
        'a: 'b,
    {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    /// An element of a list that is a field: `field(name)` and `index(index)` in one step.
    pub(crate) const fn item<'b>(&'b self, name: &'b str, index: usize) -> Path<'b>
    where
        'a: 'b,
    {
        Path { parent: Some(self), step: Step::Item(name, index) }
    }

    /// A value of a map that is a field: `field(name)` and `key(key)` in one step.
    pub(crate) const fn entry<'b>(&'b self, name: &'b str, key: &'b str) -> Path<'b>
    where
        'a: 'b,
    {
        Path { parent: Some(self), step: Step::Entry(name, key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}")?;
        }
        let dot = if self.parent.is_some() { "." } else { "" };
        match self.step {
            Step::Field(name) => write!(f, "{dot}{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Item(name, index) => write!(f, "{dot}{name}[{index}]"),
            Step::Key(key) => write_key(f, key),
            Step::Entry(name, key) => {
                write!(f, "{dot}{name}")?;
                write_key(f, key)
            }
        }
    }
}

/// `.key`, or `["key"]` where the key has dots or brackets itself.
fn write_key(f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    if key.is_empty() || key.contains(['.', '[', ']', '"']) {
        return write!(f, "[\"{key}\"]");
    }
    write!(f, ".{key}")
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn steps_read_like_the_yaml() {
        let spec = Path::root("spec");
        assert_eq!(spec.to_string(), "spec");
        let http = spec.field("http");
        let rule = http.index(2);
        assert_eq!(rule.to_string(), "spec.http[2]");
        assert_eq!(rule.item("match", 0).field("uri").field("regex").to_string(), "spec.http[2].match[0].uri.regex");
        let request = rule.item("match", 0);
        assert_eq!(request.entry("headers", "x-user").to_string(), "spec.http[2].match[0].headers.x-user");
        assert_eq!(
            request.field("headers").key("x-user").field("regex").to_string(),
            "spec.http[2].match[0].headers.x-user.regex"
        );
        assert_eq!(spec.entry("labels", "a.b/c").to_string(), "spec.labels[\"a.b/c\"]");
    }
}
