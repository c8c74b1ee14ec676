//! The one look at a file: is it YAML, is it within bounds, what does it say, and where does everything stand.
//!
//! Every node is counted before it is built, so that a text made to exhaust memory is refused before it can.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use saphyr_parser::{Event, ScalarStyle, ScanError, Tag};

use super::bounds::Bounds;
use super::events::Events;
use super::leaf::Fault;
use super::places::{Places, PlacesBuilder};
use super::syntax::{self, Refusal};
use super::white_space::Mended;
use super::yaml::{self, Value, ValueBuilder};

/// The most mappings and lists within each other whatever the bounds are: a value is read by recursion.
const DEEPEST: usize = 128;

/// A document that was looked at; an empty one is null.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) value: Value,
    pub(crate) places: Arc<Places>,
}

/// Looks at all documents of a file. Each is given away at its end, whatever follows it.
pub(crate) fn scan(
    text: &str,
    file: &Arc<str>,
    bounds: &Bounds,
    document: &mut dyn FnMut(Scanned),
) -> Result<(), Refusal> {
    let text = without_last_blanks(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut given = 0;
    let error = match pass(text, file, bounds, &|_, column| column, |scanned| {
        given += 1;
        document(scanned);
    }) {
        Ok(()) => return Ok(()),
        Err(Ended::Meaning(refusal)) => return Err(refusal),
        Err(Ended::Syntax(error)) => error,
    };
    let Some(mended) = Mended::of(text) else { return Err(syntax::refusal(&error, text, &|_, column| column)) };
    let written = |line, column| mended.column(line, column);
    let mut again = 0;
    let ended = pass(&mended.text, file, bounds, &written, |scanned| {
        again += 1;
        if again > given {
            document(scanned);
        }
    });
    ended.map_err(|ended| match ended {
        Ended::Meaning(refusal) => refusal,
        Ended::Syntax(error) => syntax::refusal(&error, text, &written),
    })
}

/// Why a text was not looked at to its end.
enum Ended {
    Syntax(ScanError),
    Meaning(Refusal),
}

/// Looks at `text`, of which `written` says the columns.
fn pass(
    text: &str,
    file: &Arc<str>,
    bounds: &Bounds,
    written: &impl Fn(u32, u32) -> u32,
    mut document: impl FnMut(Scanned),
) -> Result<(), Ended> {
    let mut scan = Scan { bounds, document: Document::default(), nodes: 0, expanded: 0, anchored: 0 };
    let end = (!text.ends_with(['\n', '\r'])).then(|| text.chars().count());
    for next in Events::new(text) {
        let (mut event, span) = next.map_err(Ended::Syntax)?;
        if end.is_some_and(|end| span.end.index() >= end) {
            unbreak(&mut event);
        }
        let (line, column) = syntax::position(&span.start);
        let column = written(line, column);
        if matches!(event, Event::DocumentEnd) {
            document(std::mem::take(&mut scan.document).finish(file, bounds.depth).map_err(Ended::Meaning)?);
        } else if let Err(fault) = scan.event(event, line, column) {
            let fault = syntax::with_template_help(fault, text, line);
            return Err(Ended::Meaning(Refusal { fault, line, column }));
        }
    }
    Ok(())
}

/// A last line that is blank and not ended is no line of a block scalar, but the parser takes it for one.
fn without_last_blanks(text: &str) -> &str {
    let rest = text.trim_end_matches(' ');
    if rest.ends_with(['\n', '\r']) { rest } else { text }
}

/// Where the text ends without a line break, a block scalar there has none, but the parser adds one.
fn unbreak(event: &mut Event<'_>) {
    if let Event::Scalar(text, ScalarStyle::Literal | ScalarStyle::Folded, ..) = event
        && text.ends_with('\n')
    {
        text.to_mut().pop();
    }
}

/// A list or mapping that is still open.
#[derive(Debug, Default)]
struct Frame {
    mapping: bool,
    /// The key whose value comes next: its number and place.
    key: Option<(u32, u32, u32)>,
    anchor: usize,
    /// The nodes in it, every alias replaced.
    expanded: usize,
    /// The levels in it.
    height: usize,
    /// Where its keys begin among those of all open mappings.
    first_key: usize,
    /// Its keys once they are many.
    many: HashSet<u32, foldhash::fast::RandomState>,
    node: u32,
}

/// What an alias stands for.
#[derive(Debug)]
struct Anchor {
    value: Value,
    node: u32,
    expanded: usize,
    height: usize,
}

#[derive(Debug, Default)]
struct Document {
    value: ValueBuilder,
    places: PlacesBuilder,
    frames: Vec<Frame>,
    /// The keys so far of the open mappings, the outer before the inner, with their lines.
    keys: Vec<(u32, u32)>,
    anchors: HashMap<usize, Anchor, foldhash::fast::RandomState>,
    /// Whether it has a merge key (`<<`).
    merges: bool,
}

impl Document {
    fn finish(self, file: &Arc<str>, depth: usize) -> Result<Scanned, Refusal> {
        let places = Arc::new(self.places.finish(Arc::clone(file)));
        let mut value = self.value.finish();
        if self.merges
            && let Err((path, fault)) = yaml::merge(&mut value, depth)
        {
            let (line, column) = places.place(places.root(), &path).map_or((1, 1), |place| (place.line, place.column));
            return Err(Refusal { fault, line, column });
        }
        Ok(Scanned { value, places })
    }
}

struct Scan<'a> {
    bounds: &'a Bounds,
    document: Document,
    nodes: usize,
    expanded: usize,
    /// The nodes that are kept for aliases: those in two anchors count twice.
    anchored: usize,
}

impl Scan<'_> {
    fn event(&mut self, event: Event<'_>, line: u32, column: u32) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) => self.document = Document::default(),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                self.scalar(text, plain, full(tag).as_deref(), anchor, line, column)?;
            }
            Event::Alias(anchor) => self.alias(anchor, line, column)?,
            Event::SequenceStart(anchor, tag) => self.open(false, full(tag).as_deref(), anchor, line, column)?,
            Event::MappingStart(anchor, tag) => self.open(true, full(tag).as_deref(), anchor, line, column)?,
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        plain: bool,
        tag: Option<&str>,
        anchor: usize,
        line: u32,
        column: u32,
    ) -> Result<(), Fault> {
        self.count(1)?;
        if let Some(frame) = self.document.frames.last_mut().filter(|frame| frame.mapping && frame.key.is_none()) {
            let key = self.document.places.intern(&text);
            frame.expanded += 1;
            frame.add_key(&mut self.document.keys, key, &text, line)?;
            self.document.merges |= text == "<<";
            let named = self.document.value.key(text, plain, tag)?;
            let key = named.map_or(key, |name| self.document.places.intern(&name));
            frame.key = Some((key, line, column));
            return Ok(());
        }
        let (key, line, column) = self.value_place(line, column);
        let node = self.document.places.leaf(key, line, column);
        if let Some(frame) = self.document.frames.last_mut() {
            frame.expanded += 1;
        }
        let value = yaml::resolve(text, plain, tag)?;
        self.anchor(anchor, &value, node, 1, 0)?;
        self.document.value.push(value);
        Ok(())
    }

    fn alias(&mut self, anchor: usize, line: u32, column: u32) -> Result<(), Fault> {
        self.refuse_as_key("an alias")?;
        let Some(anchored) = self.document.anchors.get(&anchor) else {
            return Err(Fault::new("this alias stands inside of what it is an alias for"));
        };
        let &Anchor { node, expanded, height, .. } = anchored;
        self.nodes += 1;
        self.count_expanded(expanded)?;
        self.refuse_depth(height)?;
        let (key, line, column) = self.value_place(line, column);
        self.document.places.alias(key, line, column, node);
        if let Some(anchored) = self.document.anchors.get(&anchor) {
            self.document.value.push(anchored.value.clone());
        }
        if let Some(frame) = self.document.frames.last_mut() {
            frame.expanded = frame.expanded.saturating_add(expanded);
            frame.height = frame.height.max(height);
        }
        Ok(())
    }

    fn open(&mut self, mapping: bool, tag: Option<&str>, anchor: usize, line: u32, column: u32) -> Result<(), Fault> {
        self.refuse_as_key(if mapping { "a mapping" } else { "a list" })?;
        self.count(1)?;
        self.refuse_depth(1)?;
        let (key, line, column) = self.value_place(line, column);
        let node = self.document.places.open(key, line, column);
        self.document.value.open(mapping, tag);
        let first_key = self.document.keys.len();
        self.document.frames.push(Frame { mapping, anchor, node, first_key, expanded: 1, ..Frame::default() });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        self.document.places.close();
        let value = self.document.value.close();
        let Some(frame) = self.document.frames.pop() else { return Ok(()) };
        self.document.keys.truncate(frame.first_key);
        let height = frame.height + 1;
        self.anchor(frame.anchor, &value, frame.node, frame.expanded, height)?;
        self.document.value.push(value);
        if let Some(parent) = self.document.frames.last_mut() {
            parent.expanded = parent.expanded.saturating_add(frame.expanded);
            parent.height = parent.height.max(height);
        }
        Ok(())
    }

    /// Keeps `value` for aliases, unless it has no anchor (0).
    fn anchor(&mut self, anchor: usize, value: &Value, node: u32, expanded: usize, height: usize) -> Result<(), Fault> {
        if anchor == 0 {
            return Ok(());
        }
        self.anchored = self.anchored.saturating_add(expanded);
        if self.anchored > self.bounds.expanded_nodes {
            let most = self.bounds.expanded_nodes;
            return Err(Fault::new(format!("anchors within anchors keep more than {most} keys and values")));
        }
        self.document.anchors.insert(anchor, Anchor { value: value.clone(), node, expanded, height });
        Ok(())
    }

    /// The key and place of the value that comes now: a value in a mapping stands where its key does.
    fn value_place(&mut self, line: u32, column: u32) -> (Option<u32>, u32, u32) {
        match self.document.frames.last_mut().and_then(|frame| frame.key.take()) {
            Some((key, line, column)) => (Some(key), line, column),
            None => (None, line, column),
        }
    }

    fn refuse_as_key(&self, what: &str) -> Result<(), Fault> {
        match self.document.frames.last() {
            Some(frame) if frame.mapping && frame.key.is_none() => {
                Err(Fault::new(format!("expected a name as a key, found {what}")))
            }
            _ => Ok(()),
        }
    }

    fn refuse_depth(&self, further: usize) -> Result<(), Fault> {
        let most = self.bounds.depth.min(DEEPEST);
        if self.document.frames.len().saturating_add(further) <= most {
            return Ok(());
        }
        Err(Fault::new(format!("nested deeper than {most} levels")))
    }

    fn count(&mut self, nodes: usize) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.bounds.nodes {
            return Err(Fault::new(format!("more than {} keys and values", self.bounds.nodes)).help("split the file"));
        }
        self.count_expanded(nodes)
    }

    fn count_expanded(&mut self, nodes: usize) -> Result<(), Fault> {
        self.expanded = self.expanded.saturating_add(nodes);
        if self.expanded <= self.bounds.expanded_nodes {
            return Ok(());
        }
        Err(Fault::new(format!("aliases make more than {} keys and values of it", self.bounds.expanded_nodes)))
    }
}

/// A tag in full, such as `!local` or `tag:yaml.org,2002:str`.
fn full(tag: Option<Cow<'_, Tag>>) -> Option<String> {
    tag.map(|tag| format!("{}{}", tag.handle, tag.suffix))
}

impl Frame {
    /// Up to so many keys are compared one by one.
    const FEW: usize = 16;

    fn add_key(&mut self, keys: &mut Vec<(u32, u32)>, key: u32, text: &str, line: u32) -> Result<(), Fault> {
        let own = keys.get(self.first_key..).unwrap_or_default();
        let twice = if own.len() <= Self::FEW {
            own.iter().any(|&(other, _)| other == key)
        } else {
            if self.many.is_empty() {
                self.many.extend(own.iter().map(|&(key, _)| key));
            }
            !self.many.insert(key)
        };
        if twice {
            let first = own.iter().find(|&&(other, _)| other == key).map_or(line, |&(_, line)| line);
            return Err(Fault::new(format!("the key {text:?} stands here twice")).help(format!(
                "it stands first on line {first}: remove one of them, or begin a new entry of a list with `- `"
            )));
        }
        keys.push((key, line));
        Ok(())
    }
}
