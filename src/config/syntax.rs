//! What is no YAML, in words that help: [`refusal`].

use saphyr_parser::{Marker, ScanError};

use super::leaf::Fault;

/// Why a file is refused, and where: line and column count from 1.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) fault: Fault,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// What the parser says of `text`, of which `written` says the columns.
pub(super) fn refusal(error: &ScanError, text: &str, written: &impl Fn(u32, u32) -> u32) -> Refusal {
    let (line, column) = position(error.marker());
    let (line, column) = within(text, (line, written(line, column)));
    elided(text, line).or_else(|| tabbed(error.info(), text, line)).unwrap_or_else(|| Refusal {
        fault: fault(error.info(), text, line, column),
        line,
        column,
    })
}

fn counted(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The parser counts lines from 1 and columns, in characters, from 0.
pub(super) fn position(marker: &Marker) -> (u32, u32) {
    (counted(marker.line().max(1)), counted(marker.col().saturating_add(1)))
}

/// The lines as the parser counts them: a carriage return ends one by itself too.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.strip_suffix('\r').unwrap_or(text).lines().flat_map(|line| line.split('\r'))
}

/// A text that ends too soon is said to be wrong after its last line; we say at its end.
fn within(text: &str, (line, column): (u32, u32)) -> (u32, u32) {
    let last = counted(lines(text).count().max(1));
    match lines(text).last() {
        Some(end) if line > last => (last, counted(end.chars().count() + 1)),
        _ => (line.min(last), column),
    }
}

/// An indented `...` a little before `line`: it stands for something left out, and ends no document.
fn elided(text: &str, line: u32) -> Option<Refusal> {
    let last = line as usize;
    let first = last.saturating_sub(3);
    let near = lines(text).enumerate().skip(first).take(last - first);
    let (number, indented) = near.filter(|(_, text)| text.starts_with(' ') && text.trim() == "...").last()?;
    let fault = Fault::new("not valid YAML: an indented `...`").help("remove the ellipsis");
    let column = counted(indented.len() - indented.trim_start().len() + 1);
    Some(Refusal { fault, line: counted(number + 1), column })
}

/// A tab among the spaces before a line, which is found only once the value before it has ended.
fn tabbed(info: &str, text: &str, line: u32) -> Option<Refusal> {
    if !info.contains("tab") {
        return None;
    }
    let mut near = lines(text).enumerate().skip(line as usize - 1).take(3);
    let indent = |text: &str| text.find(|c: char| !matches!(c, ' ' | '\t')).unwrap_or(text.len());
    let (line, column) = near.find_map(|(number, text)| Some((number + 1, text[..indent(text)].find('\t')? + 1)))?;
    let fault = Fault::new("not valid YAML: a tab in the indentation").help("indent with spaces, not with tabs");
    Some(Refusal { fault, line: counted(line), column: counted(column) })
}

fn fault(info: &str, text: &str, line: u32, column: u32) -> Fault {
    let fault = Fault::new(format!("not valid YAML: {info}"));
    if ends_value(text, line, column).unwrap_or(false) {
        return fault.help("put the value in quotes: the colon at its end makes it a key");
    }
    with_template_help(fault, text, line)
}

/// Whether what stands there is the colon at the end of a value in braces, as in `{address: 2001:db8::}`.
fn ends_value(text: &str, line: u32, column: u32) -> Option<bool> {
    let line = lines(text).nth((line as usize).checked_sub(1)?)?;
    let (before, _) = line.char_indices().nth((column as usize).checked_sub(2)?)?;
    let mut rest = line[before..].chars();
    let last = rest.next()?;
    let plain = !last.is_whitespace() && !matches!(last, '"' | '\'');
    Some(plain && rest.next()? == ':' && rest.as_str().trim_start().starts_with([',', '}']))
}

/// Braces in pairs are the mark of a template.
pub(super) fn with_template_help(fault: Fault, text: &str, line: u32) -> Fault {
    let braces = |line: &str| line.contains("{{") && line.contains("}}");
    match lines(text).nth(line as usize - 1) {
        Some(line) if fault.help.is_none() && braces(line) => {
            fault.help("this looks like a template: render it first, for example with `helm template`")
        }
        _ => fault,
    }
}
