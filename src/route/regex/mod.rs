//! Regular expressions with the syntax and meaning of RE2, on the `regex` crate.
//!
//! Both are of one family: linear time, leftmost first. [`translate`] writes a pattern anew where they differ:
//!
//! | RE2 | the `regex` crate | here |
//! |---|---|---|
//! | `\d \w \s \b` and their negations are ASCII, `\s` without `\v` | Unicode | written out as ASCII classes |
//! | pattern and text are bytes (Latin-1, as Envoy 1.40 has it): `.` is a byte, `é` in a pattern two, letters are folded in ASCII | code points | byte engine without Unicode, classes written out as bytes |
//! | `\Q...\E` is literal | refused | written out |
//! | `\C` is any byte | refused | refused, as by Istio's webhook |
//! | `\x{100}` and above are refused, for they are no bytes | code points | refused |
//! | `\1` is refused, `\12` is octal | both refused | as RE2 |
//! | flags `i m s U` | also `u x R` | others refused, so `x` cannot swallow the closing bracket |
//! | `[a[b]`, `[a&&b]`, `[+--]` are plain sets | nested sets and set operations | written out as plain sets |
//! | `\<`, `\>` are plain characters, `{,3}` is plain text | word boundaries, a repetition | written out as plain text |
//! | `a**`, `a{2}{3}` are refused | taken | refused |
//! | repetitions over 1000, also nested ones, are refused | taken up to the size limit | refused |
//! | two groups may have one name, and names any letters | one name each, other names | refused, as by Istio's webhook, which asks Go; ASCII |
//! | `\p{...}` takes categories and scripts | also other properties | categories and scripts |
//!
//! The whole text must match ([`SearchRegex`] aside, which looks for parts): the pattern is compiled as `\A(?:...)\z`, for the end of a match says nothing (`a|ab`
//! finds `a` in `ab` first). A program may grow to 10 MiB, the `regex` crate's own limit.

mod class;
mod translate;

use std::collections::HashMap;
use std::sync::Arc;

use regex_syntax::hir::{Hir, HirKind};

use super::StringMatcher;
use super::matcher::Kind;

/// A pattern that RE2 does not take, or that is too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("regular expression {pattern:?}: {message}")]
pub struct RegexError {
    pattern: String,
    message: String,
}

impl RegexError {
    fn new(pattern: &str, message: impl ToString) -> Self {
        Self { pattern: pattern.to_owned(), message: message.to_string() }
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// What is wrong with it.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Compiles each pattern once, however many rules have it.
///
/// ```
/// use mesh_router::route::RegexCache;
///
/// let mut cache = RegexCache::new();
/// let first = cache.matcher("/v[0-9]+/.*").unwrap();
/// let second = cache.matcher("/v[0-9]+/.*").unwrap();
/// assert!(first.matches(b"/v1/a") && second.matches(b"/v2/b"));
/// assert_eq!(cache.len(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct RegexCache {
    compiled: HashMap<Box<str>, Arc<FullRegex>>,
}

impl RegexCache {
    /// Without patterns.
    pub fn new() -> Self {
        Self::default()
    }

    /// A matcher for the whole text.
    ///
    /// # Errors
    /// If RE2 does not take `pattern`, or it is too large.
    pub fn matcher(&mut self, pattern: &str) -> Result<StringMatcher, RegexError> {
        if let Some(regex) = self.compiled.get(pattern) {
            return Ok(StringMatcher(Kind::Regex(Arc::clone(regex))));
        }
        let regex = Arc::new(FullRegex::new(pattern)?);
        self.compiled.insert(pattern.into(), Arc::clone(&regex));
        Ok(StringMatcher(Kind::Regex(regex)))
    }

    /// How many patterns were compiled.
    pub fn len(&self) -> usize {
        self.compiled.len()
    }

    /// Whether no pattern was compiled.
    pub fn is_empty(&self) -> bool {
        self.compiled.is_empty()
    }
}

/// A pattern that must match a whole text.
#[derive(Debug)]
pub(super) struct FullRegex {
    pattern: Box<str>,
    regex: regex::bytes::Regex,
    literal_start: Box<str>,
}

impl FullRegex {
    fn new(pattern: &str) -> Result<Self, RegexError> {
        let (translated, hir) = translated(pattern)?;
        let regex = compiled(pattern, &format!(r"\A(?:{translated})\z"))?;
        let mut start = vec![];
        literal_start(&hir, &mut start);
        let start = match std::str::from_utf8(&start) {
            Ok(start) => start,
            Err(error) => std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default(),
        };
        Ok(Self { pattern: pattern.into(), regex, literal_start: start.into() })
    }

    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    pub(super) fn pattern(&self) -> &str {
        &self.pattern
    }

    /// What every text that matches begins with.
    pub(super) fn literal_start(&self) -> &str {
        &self.literal_start
    }
}

/// A pattern that is looked for in a text.
#[derive(Debug)]
pub(super) struct SearchRegex(regex::bytes::Regex);

impl SearchRegex {
    pub(super) fn new(pattern: &str) -> Result<Self, RegexError> {
        let (translated, _) = translated(pattern)?;
        compiled(pattern, &translated).map(Self)
    }

    /// How many groups it has, the whole match not counted.
    pub(super) fn groups(&self) -> usize {
        self.0.captures_len().saturating_sub(1)
    }

    /// The matches from left to right, none within another. An empty one does not follow directly on another.
    pub(super) fn find_all<'t>(&self, text: &'t str) -> regex::bytes::CaptureMatches<'_, 't> {
        self.0.captures_iter(text.as_bytes())
    }
}

/// The pattern in the syntax of the `regex` crate, and its structure.
fn translated(pattern: &str) -> Result<(String, Hir), RegexError> {
    let translated = translate::translate(pattern).map_err(|message| RegexError::new(pattern, message))?;
    let hir = translate::parse(&translated).map_err(|message| RegexError::new(pattern, message))?;
    Ok((translated, hir))
}

fn compiled(pattern: &str, translated: &str) -> Result<regex::bytes::Regex, RegexError> {
    regex::bytes::RegexBuilder::new(translated).unicode(false).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => {
            RegexError::new(pattern, format!("it needs more than {} MiB when compiled", limit >> 20))
        }
        other => RegexError::new(pattern, other),
    })
}

/// Collects the literals that a match begins with; `true` if there may be more after `hir`.
fn literal_start(hir: &Hir, start: &mut Vec<u8>) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => {
            start.extend_from_slice(&literal.0);
            true
        }
        HirKind::Capture(capture) => literal_start(&capture.sub, start),
        HirKind::Concat(parts) => parts.iter().all(|part| literal_start(part, start)),
        HirKind::Repetition(repetition) => {
            // The first round is sure if there must be one; what follows it is not.
            if repetition.min > 0 {
                literal_start(&repetition.sub, start);
            }
            false
        }
        HirKind::Class(_) | HirKind::Alternation(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(pattern: &str) -> String {
        FullRegex::new(pattern).unwrap().literal_start().to_owned()
    }

    #[test]
    fn the_literal_beginning_is_known() {
        assert_eq!(start("/svc/[0-9]+"), "/svc/");
        assert_eq!(start("/svc"), "/svc");
        assert_eq!(start("^/svc/.*$"), "/svc/");
        assert_eq!(start("/(?:svc)/(a)b(c|d)"), "/svc/ab");
        assert_eq!(start("(/x)+y"), "/x");
        assert_eq!(start("/x?y"), "/");
        assert_eq!(start("(?i)/svc"), "/");
        assert_eq!(start("/ab|/ac"), "");
        assert_eq!(start("a|b"), "");
        assert_eq!(start(".*"), "");
        assert_eq!(start("/é"), "/é");
    }

    #[test]
    fn the_same_pattern_is_compiled_once() {
        let mut cache = RegexCache::new();
        assert!(cache.is_empty());
        let pointer = |matcher: &StringMatcher| match &matcher.0 {
            Kind::Regex(regex) => Arc::as_ptr(regex),
            _ => panic!("a regex"),
        };
        let (first, second) = (cache.matcher("a+").unwrap(), cache.matcher("a+").unwrap());
        assert_eq!(pointer(&first), pointer(&second));
        assert!(cache.matcher("(").is_err());
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn a_program_that_is_too_large_is_refused() {
        let error = FullRegex::new(&".{1000}".repeat(400)).unwrap_err();
        assert_eq!(error.message(), "it needs more than 10 MiB when compiled");
    }
}
