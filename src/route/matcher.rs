//! How one text is compared with another: [`StringMatcher`].

use std::fmt;
use std::sync::Arc;

use super::regex::{FullRegex, RegexCache, RegexError};

/// Istio's StringMatch: equality, prefix or regular expression, or mere presence.
///
/// It compares bytes, and case counts unless a constructor says otherwise (ASCII only).
///
/// ```
/// use mesh_router::route::StringMatcher;
///
/// assert!(StringMatcher::prefix("/foo").matches(b"/foobar"));
/// assert!(!StringMatcher::regex("/foo").unwrap().matches(b"/foobar"), "the whole text must match");
/// assert!(StringMatcher::regex("(?<open").is_err());
/// ```
#[derive(Clone)]
pub struct StringMatcher(pub(super) Kind);

#[derive(Clone)]
pub(super) enum Kind {
    Exact(Box<str>),
    Prefix(Box<str>),
    ExactIgnoreCase(Box<str>),
    PrefixIgnoreCase(Box<str>),
    Regex(Arc<FullRegex>),
    Present,
}

impl StringMatcher {
    /// Equality.
    pub fn exact(text: &str) -> Self {
        Self(Kind::Exact(text.into()))
    }

    /// Begins with `text`, byte by byte: `/foo` is a prefix of `/foobar`.
    pub fn prefix(text: &str) -> Self {
        Self(Kind::Prefix(text.into()))
    }

    /// Equality but for the case of ASCII letters (`ignoreUriCase`).
    pub fn exact_ignore_case(text: &str) -> Self {
        Self(Kind::ExactIgnoreCase(text.into()))
    }

    /// Begins with `text` but for the case of ASCII letters (`ignoreUriCase`).
    pub fn prefix_ignore_case(text: &str) -> Self {
        Self(Kind::PrefixIgnoreCase(text.into()))
    }

    /// The whole text is matched by `pattern`, in the syntax and meaning of RE2.
    ///
    /// See [`RegexCache`] for many rules with the same pattern.
    ///
    /// # Errors
    /// If RE2 does not take the pattern, or it is too large.
    pub fn regex(pattern: &str) -> Result<Self, RegexError> {
        RegexCache::new().matcher(pattern)
    }

    /// Anything that is there: `{}`, `null` where that may be, or the regular expression `*` of `withoutHeaders`.
    pub fn present() -> Self {
        Self(Kind::Present)
    }

    /// Whether `text` matches.
    #[inline]
    pub fn matches(&self, text: &[u8]) -> bool {
        match &self.0 {
            Kind::Exact(wanted) => text == wanted.as_bytes(),
            Kind::Prefix(wanted) => text.starts_with(wanted.as_bytes()),
            Kind::ExactIgnoreCase(wanted) => text.eq_ignore_ascii_case(wanted.as_bytes()),
            Kind::PrefixIgnoreCase(wanted) => {
                text.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted.as_bytes()))
            }
            Kind::Regex(regex) => regex.is_match(text),
            Kind::Present => true,
        }
    }

    /// Whether `path?query` matches, without making it one text unless a long one meets a regular expression.
    pub(super) fn matches_joined(&self, path: &str, query: &str) -> bool {
        let length = path.len() + 1 + query.len();
        if let Kind::Present = self.0 {
            return true;
        }
        if let Kind::Exact(wanted) | Kind::ExactIgnoreCase(wanted) = &self.0
            && wanted.len() != length
        {
            return false;
        }
        let parts = [path.as_bytes(), b"?", query.as_bytes()];
        let mut buffer = [0u8; 1024];
        match buffer.get_mut(..length) {
            Some(joined) => {
                let (start, end) = joined.split_at_mut(path.len());
                start.copy_from_slice(parts[0]);
                end[..1].copy_from_slice(parts[1]);
                end[1..].copy_from_slice(parts[2]);
                self.matches(joined)
            }
            None => self.matches(&parts.concat()),
        }
    }

    /// The text that alone matches, if there is only one.
    pub(super) fn only(&self) -> Option<&str> {
        match &self.0 {
            Kind::Exact(text) => Some(text),
            _ => None,
        }
    }

    /// What every matching text begins with; empty if nothing is known.
    pub(super) fn start(&self) -> &str {
        match &self.0 {
            Kind::Exact(text) | Kind::Prefix(text) => text,
            Kind::Regex(regex) => regex.literal_start(),
            _ => "",
        }
    }

    pub(super) fn is_present(&self) -> bool {
        matches!(self.0, Kind::Present)
    }

    pub(super) fn is_regex(&self) -> bool {
        matches!(self.0, Kind::Regex(_))
    }
}

impl fmt::Display for StringMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Exact(text) => write!(f, "exact {text:?}"),
            Kind::Prefix(text) => write!(f, "prefix {text:?}"),
            Kind::ExactIgnoreCase(text) => write!(f, "exact {text:?} (any case)"),
            Kind::PrefixIgnoreCase(text) => write!(f, "prefix {text:?} (any case)"),
            Kind::Regex(regex) => write!(f, "regex {:?}", regex.pattern()),
            Kind::Present => f.write_str("present"),
        }
    }
}

impl fmt::Debug for StringMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StringMatcher({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m8_exact_prefix_and_regex_mind_case() {
        assert!(StringMatcher::exact("a").matches(b"a"));
        assert!(!StringMatcher::exact("a").matches(b"A"));
        assert!(StringMatcher::exact("").matches(b""));
        assert!(StringMatcher::prefix("ab").matches(b"abc"));
        assert!(!StringMatcher::prefix("ab").matches(b"a"));
        assert!(!StringMatcher::prefix("ab").matches(b"ABC"));
        assert!(StringMatcher::regex("a+").unwrap().matches(b"aaa"));
        assert!(!StringMatcher::regex("a+").unwrap().matches(b"aab"));
        assert!(!StringMatcher::regex("a+").unwrap().matches(b"A"));
    }

    #[test]
    fn m5_case_can_be_ignored() {
        assert!(StringMatcher::exact_ignore_case("/Foo").matches(b"/fOO"));
        assert!(!StringMatcher::exact_ignore_case("/Foo").matches(b"/fOOo"));
        assert!(StringMatcher::prefix_ignore_case("/foo").matches(b"/FOO/a"));
        assert!(!StringMatcher::prefix_ignore_case("/foo").matches(b"/FO"));
    }

    #[test]
    fn path_and_query_are_matched_as_one_text() {
        let long = "q".repeat(3000);
        for query in ["x=1", "", &long] {
            let whole = format!("/a?{query}");
            for matcher in [
                StringMatcher::exact(&whole),
                StringMatcher::prefix("/a?"),
                StringMatcher::exact_ignore_case(&whole.to_uppercase()),
                StringMatcher::prefix_ignore_case("/A?"),
                StringMatcher::regex("/a[?].*").unwrap(),
                StringMatcher::present(),
            ] {
                assert!(matcher.matches_joined("/a", query), "{matcher} {query}");
            }
            assert!(!StringMatcher::exact("/a").matches_joined("/a", query));
            assert!(!StringMatcher::prefix("/ab").matches_joined("/a", query));
        }
    }
}
