//! Everything in a document that its word does not take, found in one pass, with what its author can do about it.

use super::leaf::{Fault, Scalar};
use super::message::may_be_null_entry;
use super::places::Places;
use super::schema::{Field, Message, Schema};
use super::yaml::{self, Map, Value};
use crate::error::{Problem, ResourceName, Severity};

/// So many problems of one document are told.
const MANY: usize = 100;

/// Fields that Istio once had, and what to write instead.
const REMOVED: &[(&str, &str)] = &[
    ("appendHeaders", "write headers.request.add instead"),
    ("appendRequestHeaders", "write headers.request.add instead"),
    ("appendResponseHeaders", "write headers.response.add instead"),
    ("removeRequestHeaders", "write headers.request.remove instead"),
    ("removeResponseHeaders", "write headers.response.remove instead"),
    ("websocketUpgrade", "WebSocket upgrades need no setting any more"),
];

/// What else Kubernetes keeps in the metadata.
const METADATA: &[&str] = &[
    "clusterName",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "selfLink",
    "uid",
];

/// A document being compared with its word.
pub(crate) struct Check<'a> {
    pub(crate) places: &'a Places,
    pub(crate) root: u32,
    pub(crate) resource: Option<ResourceName>,
    /// Whether unknown fields are told.
    pub(crate) strict: bool,
    pub(crate) problems: &'a mut Vec<Problem>,
    /// The path of the value that is looked at.
    path: String,
    /// The messages around it and the lengths of their paths.
    around: Vec<(&'static Message, usize)>,
    found: usize,
    errors: usize,
}

impl<'a> Check<'a> {
    pub(crate) fn new(
        places: &'a Places,
        root: u32,
        resource: Option<ResourceName>,
        problems: &'a mut Vec<Problem>,
    ) -> Self {
        let (path, around) = (String::new(), Vec::new());
        Self { places, root, resource, strict: true, problems, path, around, found: 0, errors: 0 }
    }

    /// How many errors there were.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Tells a problem of the field at `path`.
    pub(crate) fn tell(&mut self, severity: Severity, path: &str, fault: Fault) {
        self.tell_rule(severity, path, fault, None);
    }

    fn tell_rule(&mut self, severity: Severity, path: &str, fault: Fault, rule: Option<&'static str>) {
        self.found += 1;
        self.errors += usize::from(severity == Severity::Error);
        if self.found > MANY {
            return;
        }
        let mut problem = Problem::new(severity, path, fault.message).with_place(self.places.place(self.root, path));
        problem.help = fault.help;
        problem.rule = rule;
        problem.resource.clone_from(&self.resource);
        self.problems.push(problem);
        if self.found == MANY {
            let mut last = Problem::new(Severity::Warning, "", "there may be more problems in it, which are left out");
            last.place = self.places.place(self.root, "");
            last.resource.clone_from(&self.resource);
            self.problems.push(last);
        }
    }

    fn error_here(&mut self, fault: Fault) {
        self.tell_here(Severity::Error, fault);
    }

    fn tell_here(&mut self, severity: Severity, fault: Fault) {
        let path = std::mem::take(&mut self.path);
        self.tell(severity, &path, fault);
        self.path = path;
    }

    /// Compares `value`, which is not null, with what may stand there.
    fn value(&mut self, schema: Schema, value: &Value) {
        match (schema, value) {
            (Schema::Any, _) => {}
            (_, Value::Tagged(tagged)) => {
                let fault = Fault::new(format!("the tag {} has no meaning here", tagged.tag)).help("remove it");
                self.error_here(fault);
            }
            (Schema::Leaf { expected, check }, value) => {
                let checked = match yaml::scalar(value) {
                    Some(scalar) => check(scalar),
                    None => Err(no_leaf(expected, value)),
                };
                if let Err(fault) = checked {
                    let fault = self.ellipsis(fault, value);
                    self.error_here(fault);
                }
            }
            (Schema::Message(message), Value::Mapping(mapping)) => self.message(message, mapping),
            (Schema::Message(message), other) => self.error_here(no_message(message, other)),
            (Schema::List(entry), Value::Sequence(entries)) => self.list(entry(), entries),
            (Schema::List(_), other) => self.error_here(
                Fault::new(format!("expected a list, found {}", yaml::describe(other)))
                    .help("begin each entry of the list with `- `"),
            ),
            (Schema::Map(entry), Value::Mapping(mapping)) => {
                for (key, inner) in mapping {
                    self.inside(&yaml::key_text(key), |check| check.nullable(entry(), inner));
                }
            }
            (Schema::Map(_), other) => {
                let fault = Fault::new(format!("expected a mapping, found {}", yaml::describe(other)));
                self.error_here(fault.help("write `name: value` on lines of their own below it"));
            }
        }
    }

    fn nullable(&mut self, schema: Schema, value: &Value) {
        if !value.is_null() {
            self.value(schema, value);
        }
    }

    fn inside(&mut self, key: &str, check: impl FnOnce(&mut Self)) {
        let end = self.path.len();
        yaml::push_key(&mut self.path, key);
        check(self);
        self.path.truncate(end);
    }

    fn list(&mut self, schema: Schema, entries: &[Value]) {
        let end = self.path.len();
        for (index, entry) in entries.iter().enumerate() {
            yaml::push_index(&mut self.path, index);
            if entry.is_null() {
                self.null_entry(schema);
            } else {
                self.value(schema, entry);
            }
            self.path.truncate(end);
        }
    }

    fn null_entry(&mut self, schema: Schema) {
        let (severity, said) = match schema {
            Schema::Message(message) if may_be_null_entry(message.name) => {
                (Severity::Warning, "this entry of the list is empty (null): everything matches it")
            }
            _ => (Severity::Error, "this entry of the list is empty (null)"),
        };
        self.tell_here(severity, Fault::new(said).help("fill it in or remove it"));
    }

    /// Compares a mapping with the fields of a message.
    pub(crate) fn message(&mut self, message: &'static Message, mapping: &Map) {
        self.around.push((message, self.path.len()));
        for (key, value) in mapping {
            let key = yaml::key_text(key);
            match message.field(&key) {
                Some(field) => self.inside(&key, |check| check.nullable((field.schema)(), value)),
                None if self.strict => self.unknown(message, mapping, &key),
                None => {}
            }
        }
        self.around.pop();
    }

    fn unknown(&mut self, message: &'static Message, mapping: &Map, key: &str) {
        let top = self.around.len() == 1;
        if message.name == "Metadata" && METADATA.contains(&key) {
            return;
        }
        let mut path = self.path.clone();
        yaml::push_key(&mut path, key);
        if let Some(fault) = beside(message, mapping, key) {
            return self.tell(Severity::Error, &path, fault);
        }
        let (severity, rule) = if top { (Severity::Error, Some("V2")) } else { (Severity::Unknown, None) };
        let fault = Fault::new(format!("unknown field {key:?}")).help(self.instead(message, key));
        self.tell_rule(severity, &path, fault, rule);
    }

    /// What the author of an unknown field may have meant.
    fn instead(&self, message: &'static Message, key: &str) -> String {
        let removed = REMOVED.iter().find(|(name, _)| folded(name) == folded(key));
        if let (Some((_, instead)), "HttpRoute" | "HttpRouteDestination") = (removed, message.name) {
            return format!("Istio has removed it: {instead}");
        }
        let outer = self.around.iter().rev().skip(1).find(|(outer, _)| outer.field(key).is_some());
        if let Some(&(_, end)) = outer {
            let outer = if end == 0 { "the resource itself" } else { &self.path[..end] };
            return format!("{key:?} is a field of {outer}: check the indentation");
        }
        let mut inner = message.fields.iter().filter(|field| has_field((field.schema)(), key));
        if let (Some(inner), None) = (inner.next(), inner.next()) {
            return format!("{key:?} is a field of {:?}: it belongs below it", inner.name);
        }
        match closest(key, message.fields) {
            Some(name) => format!("did you mean {name:?}?"),
            None => {
                let names: Vec<_> = message.fields.iter().map(|field| field.name).collect();
                format!("known here: {}", names.join(", "))
            }
        }
    }

    /// An indented `...` is no end of a document: it becomes part of the value before it.
    fn ellipsis(&self, fault: Fault, value: &Value) -> Fault {
        match value {
            Value::String(text) if is_elided(text) => {
                fault.help("an indented `...` is part of the value before it: remove the ellipsis")
            }
            _ => fault,
        }
    }
}

/// Whether a text ends with an ellipsis that stood for something left out.
pub(crate) fn is_elided(text: &str) -> bool {
    text.ends_with(" ...") || text == "..." || text.ends_with('\u{2026}')
}

fn no_leaf(expected: &str, found: &Value) -> Fault {
    let fault = Fault::new(format!("expected {expected}, found {}", yaml::describe(found)));
    if yaml::ends_with_colons(found) { fault.help("put it in quotes: the last colon makes it a key") } else { fault }
}

fn no_message(message: &Message, found: &Value) -> Fault {
    let fault = Fault::new(format!("expected a mapping, found {}", yaml::describe(found)));
    let names: Vec<_> = message.fields.iter().take(6).map(|field| field.name).collect();
    let more = if message.fields.len() > 6 { ", ..." } else { "" };
    match found {
        Value::Sequence(_) => fault.help("remove the `- ` before it: there is only one here"),
        Value::String(text) if is_elided(text) => fault.help("remove the ellipsis"),
        _ => fault.help(format!("write its fields on lines of their own below it: {}{more}", names.join(", "))),
    }
}

/// `destination:` with nothing below it, and `host:` beside it instead.
fn beside(message: &'static Message, mapping: &Map, key: &str) -> Option<Fault> {
    let empty = mapping.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| yaml::key_text(name));
    for name in empty {
        let Some(field) = message.field(&name) else { continue };
        let fault = || Fault::new(format!("{key:?} stands beside {name:?}, which is empty, not below it"));
        match (field.schema)() {
            Schema::List(entry) if has_field(entry(), key) => {
                return Some(fault().help(format!("write it as an entry of a list below `{name}:`: `- {key}: ...`")));
            }
            schema if has_field(schema, key) => {
                return Some(fault().help(format!("indent {key:?} by two more spaces, so that it is below `{name}:`")));
            }
            _ => {}
        }
    }
    None
}

fn has_field(schema: Schema, key: &str) -> bool {
    matches!(schema, Schema::Message(message) if message.field(key).is_some())
}

fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// The field whose name is most like `key`, if any is.
fn closest(key: &str, fields: &'static [Field]) -> Option<&'static str> {
    let key = folded(key);
    let like = |field: &Field| strsim::jaro_winkler(&key, &folded(field.name));
    let best = fields.iter().max_by(|left, right| like(left).total_cmp(&like(right)))?;
    (like(best) >= 0.8).then_some(best.name)
}

/// What stands in the field `name`, or in an unknown one that its author may have meant by that.
pub(crate) fn meant<'v>(schema: Schema, mapping: &'v Map, name: &str) -> Option<&'v Value> {
    let Schema::Message(message) = schema else { return None };
    let is_meant = |key: &str| message.field(key).is_none() && closest(key, message.fields) == Some(name);
    let misspelt = || mapping.iter().find(|(key, _)| is_meant(&yaml::key_text(key)));
    yaml::get(mapping, name).or_else(|| Some(misspelt()?.1))
}

/// Whether `word` is probably meant to be `name`.
pub(crate) fn resembles(word: &str, name: &str) -> bool {
    word != name && strsim::normalized_damerau_levenshtein(&folded(word), &folded(name)) >= 0.7
}

/// What may be left of a scalar in a message: a text that is short enough.
pub(crate) fn quoted(text: &str) -> String {
    Scalar::Text(text).to_string().replacen("the text ", "", 1)
}
