//! What may stand where in a document: [`Schema`].

use super::leaf::{Fault, Scalar};

/// What may stand somewhere.
#[derive(Clone, Copy)]
pub(crate) enum Schema {
    /// A scalar that `check` takes.
    Leaf { expected: &'static str, check: fn(Scalar<'_>) -> Result<(), Fault> },
    /// A mapping with these names.
    Message(&'static Message),
    /// A list, without nulls but of messages that may be some.
    List(fn() -> Schema),
    /// A mapping with any names.
    Map(fn() -> Schema),
    /// Anything.
    Any,
}

/// The fields of a message.
pub(crate) struct Message {
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [Field],
}

impl Message {
    /// The field that is written `name`, in either spelling.
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name || field.alias.contains(&name))
    }
}

/// One field of a message.
pub(crate) struct Field {
    /// The JSON name.
    pub(crate) name: &'static str,
    /// The name in the proto file, where it is another.
    pub(crate) alias: &'static [&'static str],
    pub(crate) schema: fn() -> Schema,
}
