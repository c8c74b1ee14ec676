//! Where a field stands in a resource ([`Path`]), linked on the stack.

use std::fmt;

use crate::config::write_key;

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

    /// The path in words. Every rule has one, so it is written straight on.
    pub(crate) fn text(&self) -> String {
        // Most are shorter.
        let mut text = String::with_capacity(32);
        // To a string nothing fails.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, to: &mut impl fmt::Write) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.write(to)?;
        }
        match self.step {
            Step::Field(name) => self.write_name(to, name),
            Step::Index(index) => write!(to, "[{index}]"),
            Step::Item(name, index) => {
                self.write_name(to, name)?;
                write!(to, "[{index}]")
            }
            Step::Key(key) => write_key(to, false, key),
            Step::Entry(name, key) => {
                self.write_name(to, name)?;
                write_key(to, false, key)
            }
        }
    }

    fn write_name(&self, to: &mut impl fmt::Write, name: &str) -> fmt::Result {
        if self.parent.is_some() {
            to.write_char('.')?;
        }
        to.write_str(name)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
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
        assert_eq!(spec.entry("labels", "a.b/c").text(), "spec.labels[\"a.b/c\"]");
    }
}
