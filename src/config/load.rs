//! From texts to a [`Config`]: documents, lists of resources, kinds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::bounds::Bounds;
use super::check::{self, Check};
use super::half_read::without;
use super::kinds::{self, Entry, Kind, Shape};
use super::kubernetes::SERVICE_NAME;
use super::leaf::Fault;
use super::message::Word;
use super::places::Places;
use super::resource::{Metadata, Resource};
use super::scan::{Scanned, scan};
use super::schema::Schema;
use super::syntax::Refusal;
use super::yaml::{self, Map, Value};
use super::{
    Condition, Config, DestinationRule, EndpointSlice, Gateway, Node, Pod, Secret, Service, ServiceEntry,
    VirtualService, WorkloadEntry,
};
use crate::error::{Error, ErrorKind, Place, Problem, ResourceName, Severity};

/// Reads all files, or says for each that is no YAML why not. One without a text is longer than
/// [bounds leave](Bounds::left).
pub(crate) fn load<'a>(
    files: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    bounds: &Bounds,
) -> Result<Config, Error> {
    let mut load = Load { config: Config::default(), seen: HashMap::new() };
    let mut refused = Vec::new();
    let mut total = 0usize;
    for (name, text) in files {
        let file: Arc<str> = name.into();
        let result = within(text, &mut total, bounds).and_then(|text| load.file(text, &file, bounds));
        if let Err(Refusal { fault, line, column }) = result {
            let mut problem = Problem::new(Severity::Error, "", fault.message);
            problem.place = Some(Place::new(file, line, column));
            problem.help = fault.help;
            refused.push(problem);
        }
    }
    if refused.is_empty() { Ok(load.finish()) } else { Err(Error::new(ErrorKind::Syntax, refused)) }
}

/// The text, unless it is over a bound; `total` is of those that are not.
fn within<'t>(text: Option<&'t str>, total: &mut usize, bounds: &Bounds) -> Result<&'t str, Refusal> {
    let left = bounds.left(*total);
    if let Some(text) = text.filter(|text| text.len() <= left) {
        *total += text.len();
        return Ok(text);
    }
    let own = text.map_or(left == bounds.file_bytes, |text| text.len() > bounds.file_bytes);
    let message = if own {
        format!("the file has more than {} bytes, which are not read", bounds.file_bytes)
    } else {
        format!("the files have more than {} bytes together, which are not read", bounds.total_bytes)
    };
    Err(Refusal { fault: Fault::new(message), line: 1, column: 1 })
}

struct Load {
    config: Config,
    /// Where each resource stands, and whether it was read.
    seen: HashMap<ResourceName, (Option<Place>, bool)>,
}

/// A resource as it was written.
struct Document<'a> {
    value: &'a Value,
    mapping: &'a Map,
    places: &'a Arc<Places>,
    root: u32,
    kind: Option<&'a str>,
    api_version: Option<&'a str>,
}

impl<'a> Document<'a> {
    /// As for kubectl, an item that names neither key has those of its typed list, for example a `VirtualServiceList`.
    fn new(value: &'a Value, mapping: &'a Map, at: (&'a Arc<Places>, u32), list: Option<&Document<'a>>) -> Self {
        let (places, root) = at;
        let named = ["kind", "apiVersion"].iter().any(|key| yaml::get(mapping, key).is_some());
        let of_list = list.and_then(|list| Some((list.kind?.strip_suffix("List")?, list.api_version)));
        let (kind, api_version) = match of_list.filter(|(kind, _)| !named && !kind.is_empty()) {
            Some((kind, api_version)) => (Some(kind), api_version),
            None => (text(mapping, "kind"), text(mapping, "apiVersion")),
        };
        Document { value, mapping, places, root, kind, api_version }
    }

    fn place(&self, path: &str) -> Option<Place> {
        self.places.place(self.root, path)
    }

    /// Its name, as far as it has one.
    fn name(&self, kind: &str) -> Option<ResourceName> {
        let metadata = yaml::get(self.mapping, "metadata")?.as_mapping()?;
        named(kind, |field| yaml::get(metadata, field))
    }

    /// The same where keys are misspelt, or stand beside `metadata`.
    fn probable_name<T: Shape>(&self) -> Option<ResourceName> {
        let metadata = check::meant(Schema::Message(T::ENVELOPE), self.mapping, "metadata").and_then(Value::as_mapping);
        let metadata = metadata.unwrap_or(self.mapping);
        named(T::KIND.as_str(), |field| check::meant(Metadata::SCHEMA, metadata, field))
    }
}

fn text<'v>(mapping: &'v Map, name: &str) -> Option<&'v str> {
    yaml::get(mapping, name).and_then(Value::as_str)
}

impl Load {
    fn file(&mut self, text: &str, file: &Arc<str>, bounds: &Bounds) -> Result<(), Refusal> {
        // What was read of a file that is refused later on is thrown away with all the others.
        scan(text, file, bounds, &mut |Scanned { value, places }| {
            self.node(&value, &places, places.root(), bounds.depth, None);
        })
    }

    fn tell(&mut self, severity: Severity, path: &str, place: Option<Place>, fault: Fault) {
        let mut problem = Problem::new(severity, path, fault.message).with_place(place);
        problem.help = fault.help;
        self.config.problems.push(problem);
    }

    /// A document, or an item of a list of them.
    fn node<'a>(
        &mut self,
        value: &'a Value,
        places: &'a Arc<Places>,
        root: u32,
        depth: usize,
        list: Option<&Document<'a>>,
    ) {
        let fault = match value {
            Value::Null => return,
            Value::Mapping(mapping) => {
                return self.document(&Document::new(value, mapping, (places, root), list), depth);
            }
            Value::Sequence(entries) => kinds::list_fragment(entries),
            other => Fault::new(format!("expected a resource, found {}", yaml::describe(other)))
                .help("a resource is a mapping with apiVersion, kind, metadata and spec"),
        };
        self.tell(Severity::Error, "", places.place(root, ""), fault);
    }

    fn document(&mut self, document: &Document<'_>, depth: usize) {
        let Some(kind) = document.kind else { return self.no_kind(document) };
        let items = yaml::get(document.mapping, "items").and_then(Value::as_sequence);
        if let (true, Some(items), Some(depth)) = (kind.ends_with("List"), items, depth.checked_sub(1)) {
            for (index, item) in items.iter().enumerate() {
                let mut path = "items".to_owned();
                yaml::push_index(&mut path, index);
                let (root, _) = document.places.find(document.root, &path);
                self.node(item, document.places, root, depth, Some(document));
            }
            return;
        }
        match kinds::entry(document.api_version, kind) {
            Entry::Ours(kind, version) => self.ours(kind, document, version),
            Entry::Skipped(named) => {
                *self.config.skipped.entry(kind.to_owned()).or_default() += 1;
                if let Some(fault) = named {
                    self.about(document, kind, "kind", Severity::Warning, fault);
                }
            }
            Entry::NotEnforced(fault) => self.about(document, kind, "kind", Severity::Warning, fault),
            Entry::WrongKind(fault, canonical) => {
                let canonical = canonical.unwrap_or(kind);
                self.about(document, canonical, "kind", Severity::Error, fault);
                self.config.rejected.extend(document.name(canonical));
            }
            Entry::NoVersion => {
                let fault = Fault::new("there is no apiVersion").help("add `apiVersion:` with the group of the kind");
                self.about(document, kind, "apiVersion", Severity::Error, fault);
            }
        }
    }

    fn about(&mut self, document: &Document<'_>, kind: &str, path: &str, severity: Severity, fault: Fault) {
        self.tell(severity, path, document.place(path), fault);
        if let Some(problem) = self.config.problems.last_mut() {
            problem.resource = document.name(kind);
        }
    }

    /// A mapping that names no kind: a typing error, or a part of something.
    fn no_kind(&mut self, document: &Document<'_>) {
        let keys = || document.mapping.keys().map(yaml::key_text);
        if let Some(value) = yaml::get(document.mapping, "kind") {
            let fault = Fault::new(format!("expected the name of a kind, found {}", yaml::describe(value)));
            return self.tell(Severity::Error, "kind", document.place("kind"), fault);
        }
        if let Some(key) = keys().find(|key| check::resembles(key, "kind") || key.eq_ignore_ascii_case("kind")) {
            let mut path = String::new();
            yaml::push_key(&mut path, &key);
            let fault = Fault::new(format!("unknown field {key:?}")).help("did you mean \"kind\"?");
            let kind = text(document.mapping, &key).map(|kind| (kind, kinds::entry(document.api_version, kind)));
            let Some((kind, Entry::Ours(..))) = kind else {
                return self.tell(Severity::Error, &path, document.place(&path), fault);
            };
            self.config.rejected.extend(document.name(kind));
            return self.about(document, kind, &path, Severity::Error, fault);
        }
        let fault = match document.mapping.contains_key("apiVersion") {
            true => Fault::new("there is no kind").help("add `kind:`, for example `kind: VirtualService`"),
            false => kinds::mapping_fragment(document.mapping),
        };
        self.tell(Severity::Error, "", document.place(""), fault);
    }

    fn ours(&mut self, kind: Kind, document: &Document<'_>, version: Option<Fault>) {
        match kind {
            Kind::VirtualService => self.read::<VirtualService>(document, version),
            Kind::DestinationRule => self.read::<DestinationRule>(document, version),
            Kind::Gateway => self.read::<Gateway>(document, version),
            Kind::ServiceEntry => self.read::<ServiceEntry>(document, version),
            Kind::WorkloadEntry => self.read::<WorkloadEntry>(document, version),
            Kind::Service => self.read::<Service>(document, version),
            Kind::EndpointSlice => self.read::<EndpointSlice>(document, version),
            Kind::Pod => self.read::<Pod>(document, version),
            Kind::Node => self.read::<Node>(document, version),
            Kind::Secret => self.read::<Secret>(document, version),
        }
    }

    /// Reads a resource of a kind of ours; `version` is what is wrong with its apiVersion.
    fn read<T: Shape>(&mut self, document: &Document<'_>, version: Option<Fault>) {
        let kind = T::KIND.as_str();
        let name = document.name(kind);
        let mut problems = std::mem::take(&mut self.config.problems);
        let told = problems.len();
        let mut check = Check::new(document.places, document.root, name.clone(), &mut problems);
        check.strict = T::KIND.is_istio();
        if let Some(fault) = version {
            // A misspelt name of the field is told by the comparison.
            if document.mapping.contains_key("apiVersion") || !kinds::has_misspelt_version(document.mapping) {
                check.tell(Severity::Error, "apiVersion", fault);
            }
        }
        check.message(T::ENVELOPE, document.mapping);
        check_name(&mut check, document);
        if T::KIND.is_istio() && check.errors() == 0 && yaml::get(document.mapping, "spec").is_none() {
            check.tell(Severity::Error, "spec", Fault::new("there is no spec").help("write the fields below `spec:`"));
        }
        let first = self.is_first(&mut check);
        let decoded = match check.errors() {
            0 => decode::<T>(document.value, document.mapping)
                .map_err(|message| check.tell(Severity::Error, "", Fault::new(message)))
                .ok(),
            _ => None,
        };
        self.config.problems = problems;
        if let (Some(name), true) = (&name, first) {
            self.seen.insert(name.clone(), (document.place("metadata.name"), decoded.is_some()));
        }
        match decoded {
            Some((meta, spec)) => {
                let mut resource = Resource::read(meta, spec, Arc::clone(document.places), document.root);
                if T::KIND == Kind::WorkloadEntry {
                    resource.conditions = conditions(document);
                }
                T::list(&mut self.config).push(resource);
            }
            None => {
                // Only the last good version goes by a name that is guessed.
                self.config.rejected.extend(name.or_else(|| document.probable_name::<T>()));
                self.half_read::<T>(document, told);
            }
        }
    }

    /// Keeps what can be read of a resource, whose problems are those from this number on.
    fn half_read<T: Shape>(&mut self, document: &Document<'_>, told: usize) {
        let wrong = self.config.problems[told..].iter().filter(|problem| problem.is_error());
        let broken: HashSet<_> = wrong.map(|problem| &*problem.path).collect();
        // Without its name, or its spec, it is another.
        if !T::KIND.is_istio() || broken.iter().any(|path| !path.starts_with("spec.") && *path != "apiVersion") {
            return;
        }
        let Some(left) = without(document.value, &mut String::new(), &broken) else { return };
        let mapping = left.as_mapping().filter(|mapping| mapping.contains_key("spec"));
        if let Some(Ok((meta, spec))) = mapping.map(|mapping| decode::<T>(&left, mapping)) {
            let resource = Resource::read(meta, spec, Arc::clone(document.places), document.root);
            T::list(self.config.half_read.get_or_insert_default()).push(resource);
        }
    }

    /// Whether no other resource has its name.
    fn is_first(&self, check: &mut Check<'_>) -> bool {
        let Some(name) = check.resource.clone() else { return true };
        let Some((first, _)) = self.seen.get(&name) else { return true };
        let first = first.as_ref().map_or_else(|| "elsewhere".to_owned(), |place| format!("at {place}"));
        let fault = Fault::new(format!("there is a {name} already, {first}; this one is left out"));
        check.tell(Severity::Error, "metadata.name", fault.help("rename or remove one of them"));
        false
    }

    /// Of a resource that was read no last good version is wanted, whatever else has its name; and nobody misses what
    /// Endpoints say that EndpointSlices say too, as they do in every cluster.
    fn finish(mut self) -> Config {
        let slices = self.config.endpoint_slices.iter();
        let sliced: HashSet<_> = slices
            .filter_map(|slice| Some((slice.namespace(), slice.meta.labels.get(SERVICE_NAME)?.as_str())))
            .collect();
        let is_said_again = |problem: &Problem| {
            let of = problem.resource.as_ref().filter(|of| *of.kind == *"Endpoints" && !problem.is_error());
            of.is_some_and(|of| sliced.contains(&(&*of.namespace, &*of.name)))
        };
        self.config.problems.retain(|problem| !is_said_again(problem));
        let mut told = HashSet::new();
        let seen = self.seen;
        let wanted = |name: &ResourceName| !seen.get(name).is_some_and(|&(_, read)| read);
        self.config.rejected.retain(|name| wanted(name) && told.insert(name.clone()));
        self.config
    }
}

/// The name that fields of the metadata say.
fn named<'a>(kind: &str, field: impl Fn(&str) -> Option<&'a Value>) -> Option<ResourceName> {
    let text = |name| Some(field(name)?.as_str()?.to_owned());
    Some(Metadata { name: text("name")?, namespace: text("namespace"), ..Metadata::default() }.resource_name(kind))
}

fn check_name(check: &mut Check<'_>, document: &Document<'_>) {
    let metadata = yaml::get(document.mapping, "metadata").and_then(Value::as_mapping);
    let name = metadata.and_then(|metadata| yaml::get(metadata, "name"));
    let Some(name) = name else {
        let fault = Fault::new("there is no name").help("write `name:` below `metadata:`");
        return check.tell(Severity::Error, "metadata.name", fault);
    };
    let Some(name) = name.as_str() else { return };
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if check::is_elided(name) {
        let fault = Fault::new(format!("{} is no name", check::quoted(name)));
        let help = "an indented `...` is part of the value before it: remove the ellipsis";
        check.tell(Severity::Error, "metadata.name", fault.help(help));
    } else if name.is_empty() || name.contains(bad) {
        let fault = Fault::new(format!("{} is no name", check::quoted(name)));
        check.tell(Severity::Error, "metadata.name", fault.help("use letters, digits, `-` and `.`"));
    }
}

/// The metadata and the word; everything that could be wrong with them was found before.
fn decode<T: Shape>(value: &Value, mapping: &Map) -> Result<(Metadata, T), String> {
    let metadata = yaml::get(mapping, "metadata").map_or_else(|| Ok(Metadata::default()), yaml::decode)?;
    let spec = match (T::HAS_SPEC, yaml::get(mapping, "spec")) {
        (true, Some(spec)) => yaml::decode(spec)?,
        (true, None) => T::default(),
        (false, _) => yaml::decode(value)?,
    };
    Ok((metadata, spec))
}

/// What `status.conditions` says, as far as it can be read: nobody writes it by hand.
fn conditions(document: &Document<'_>) -> Vec<Condition> {
    let status = yaml::get(document.mapping, "status").and_then(Value::as_mapping);
    let listed = status.and_then(|status| yaml::get(status, "conditions")).and_then(Value::as_sequence);
    listed.into_iter().flatten().filter_map(|condition| yaml::decode(condition).ok()).collect()
}
