//! What becomes of path and authority (`http[].rewrite`): [`Rewrite`] and [`PathRewrite`].

use std::sync::Arc;

use http::HeaderName;

use super::AuthorityRewrite;
use super::regex::{RegexError, SearchRegex};

/// Where the upstream is told the path that a rewrite took away.
pub(crate) const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

/// The same of the authority.
pub(crate) const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");

/// What becomes of path and authority before a request is sent; once, whatever the tries.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// The new path. Where it is set the upstream is told the old path and query in `x-envoy-original-path`, even if
    /// nothing changed.
    pub path: Option<PathRewrite>,
    /// The new authority: of `rewrite.authority`, else of the rule's operations on `host`, else, where the rule has
    /// only one destination, of that destination's. Where it is set the upstream is told the old one in
    /// `x-envoy-original-host`.
    pub authority: Option<AuthorityRewrite>,
}

/// A new path. It never touches the query.
///
/// ```
/// use mesh_router::route::PathRewrite;
///
/// assert_eq!(PathRewrite::prefix("/foo", "/").apply("/foo/bar").unwrap(), "//bar");
/// let versions = PathRewrite::regex("^/api/(v[0-9]+)/", r"/\1/").unwrap();
/// assert_eq!(versions.apply("/api/v2/x").unwrap(), "/v2/x");
/// assert_eq!(versions.apply("/other"), None);
/// assert_eq!(versions.apply_before("/api/v2/x", Some("y=1")).as_deref(), Some("/v2/x?y=1"));
/// ```
#[derive(Clone, Debug)]
pub struct PathRewrite(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Prefix { length: usize, with: Box<str> },
    Whole(Box<str>),
    Regex(Arc<Substitution>),
}

/// An expression and what replaces each of its matches.
#[derive(Debug)]
struct Substitution {
    regex: SearchRegex,
    pieces: Box<[Piece]>,
}

/// A part of a replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// What a group of the expression matched; 0 is all of it.
    Group(usize),
}

/// Why an expression and its replacement make no rewrite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathRewriteError {
    /// RE2 does not take the expression.
    #[error(transparent)]
    Regex(#[from] RegexError),
    /// The replacement has a backslash with neither a digit nor a backslash behind it.
    #[error("in the replacement {0:?} a backslash has neither a digit nor a backslash behind it")]
    Escape(String),
    /// The replacement names a group that the expression does not have.
    #[error("the replacement names group {group}, the expression has {groups}")]
    Group {
        /// The number it names.
        group: usize,
        /// How many there are.
        groups: usize,
    },
}

impl PathRewrite {
    /// The beginning that `prefix` matched becomes `with`, byte for byte: no slash is added or taken away
    /// (`uri`, for a rule that matches a prefix, or no path at all, which is the prefix `/`).
    pub fn prefix(prefix: &str, with: &str) -> Self {
        Self(Kind::Prefix { length: prefix.len(), with: with.into() })
    }

    /// The whole path becomes `with` (`uri`, for a rule that matches a path exactly or by an expression).
    pub fn whole(with: &str) -> Self {
        Self(Kind::Whole(with.into()))
    }

    /// Every match of `pattern` becomes `replacement`, in which `\0` is the match, `\1` to `\9` are its groups and
    /// `\\` is a backslash (`uriRegexRewrite`, RE2's `GlobalReplace`).
    ///
    /// # Errors
    /// [`PathRewriteError`].
    pub fn regex(pattern: &str, replacement: &str) -> Result<Self, PathRewriteError> {
        let regex = SearchRegex::new(pattern)?;
        let pieces = pieces(replacement)?;
        let groups = regex.groups();
        let highest = pieces.iter().map(|piece| if let Piece::Group(group) = piece { *group } else { 0 }).max();
        match highest.filter(|highest| *highest > groups) {
            Some(group) => Err(PathRewriteError::Group { group, groups }),
            None => Ok(Self(Kind::Regex(Arc::new(Substitution { regex, pieces })))),
        }
    }

    /// What becomes of `path`, which is without its query and was matched by the rule. `None`: it stays as it is.
    pub fn apply(&self, path: &str) -> Option<String> {
        self.apply_before(path, None)
    }

    /// The same with the query, which stays as it is, behind it.
    pub fn apply_before(&self, path: &str, query: Option<&str>) -> Option<String> {
        let (mark, query) = query.map_or(("", ""), |query| ("?", query));
        match &self.0 {
            Kind::Prefix { length, with } => path.get(*length..).map(|rest| [&**with, rest, mark, query].concat()),
            Kind::Whole(with) => Some([&**with, mark, query].concat()),
            Kind::Regex(substitution) => substitution.apply(path).map(|path| path + mark + query),
        }
    }
}

impl Substitution {
    fn apply(&self, path: &str) -> Option<String> {
        let mut matches = self.regex.find_all(path).peekable();
        matches.peek()?;
        let mut rewritten = Vec::with_capacity(path.len() + 32);
        let mut copied = 0;
        for found in matches {
            let whole = found.get(0)?.range();
            rewritten.extend_from_slice(path.as_bytes().get(copied..whole.start)?);
            for piece in &self.pieces {
                match piece {
                    Piece::Text(text) => rewritten.extend_from_slice(text.as_bytes()),
                    // A group that took no part in the match is empty.
                    Piece::Group(group) => {
                        rewritten.extend_from_slice(found.get(*group).map_or(&[], |group| group.as_bytes()));
                    }
                }
            }
            copied = whole.end;
        }
        rewritten.extend_from_slice(path.as_bytes().get(copied..)?);
        String::from_utf8(rewritten).ok()
    }
}

fn pieces(replacement: &str) -> Result<Box<[Piece]>, PathRewriteError> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = replacement.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match rest.next() {
            Some('\\') => text.push('\\'),
            Some(digit @ '0'..='9') => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text).into()));
                }
                pieces.push(Piece::Group(digit as usize - '0' as usize));
            }
            _ => return Err(PathRewriteError::Escape(replacement.to_owned())),
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.into()));
    }
    Ok(pieces.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_path_rewriting() {
        let regex = |pattern, replacement| PathRewrite::regex(pattern, replacement).unwrap();
        for (rewrite, path, expected) in [
            (PathRewrite::prefix("/foo", "/"), "/foo/bar", Some("//bar")),
            (PathRewrite::prefix("/foo/", "/"), "/foo/bar", Some("/bar")),
            (PathRewrite::prefix("/foo", "/v1"), "/foobar", Some("/v1bar")),
            (PathRewrite::prefix("/foo", "/v1"), "/FOO/a", Some("/v1/a")),
            (PathRewrite::whole("/bar"), "/foo", Some("/bar")),
            (PathRewrite::whole("/n"), "/a/12", Some("/n")),
            (PathRewrite::prefix("/", "/v1"), "/x", Some("/v1x")),
            (PathRewrite::prefix("/", "/v1/"), "/x", Some("/v1/x")),
            (PathRewrite::prefix("", "/v1"), "/x", Some("/v1/x")),
            (regex("/b/", "/c/"), "/b/b/", Some("/c/b/")),
            (regex("^/api/(v[0-9]+)/", r"/\1/"), "/api/v2/x", Some("/v2/x")),
            (regex("/+", "/"), "//a///b", Some("/a/b")),
        ] {
            assert_eq!(rewrite.apply(path).as_deref(), expected, "{rewrite:?} {path}");
        }
    }

    #[test]
    fn w7_every_match_is_replaced_as_re2_does() {
        for (pattern, replacement, path, expected) in [
            ("b", "x", "/abab", Some("/axax")),
            ("b", "x", "/aaa", None),
            ("x*", "-", "/ab", Some("-/-a-b-")),
            ("x*", "-", "/xab", Some("-/-a-b-")),
            ("a*", "-", "/baac", Some("-/-b-c-")),
            ("^", "/v1", "/a", Some("/v1/a")),
            ("$", "/end", "/a", Some("/a/end")),
            ("(a)|(b)", r"[\1\2\0]", "/ab", Some("/[aa][bb]")),
            ("/([^/]+)/([^/]+)", r"/\2/\1", "/a/b/c/d", Some("/b/a/d/c")),
            ("a", r"\\1", "/a", Some(r"/\1")),
            ("^/a", "", "/a/b", Some("/b")),
            (r"(?i)/API", "/v", "/api/Api", Some("/v/v")),
            (r"\bb\b", "x", "/b/bb", Some("/x/bb")),
        ] {
            let rewrite = PathRewrite::regex(pattern, replacement).unwrap();
            assert_eq!(rewrite.apply(path).as_deref(), expected, "{pattern} {replacement} {path}");
        }
    }

    #[test]
    fn replacements_that_cannot_be_are_refused() {
        assert!(matches!(PathRewrite::regex("(", ""), Err(PathRewriteError::Regex(_))));
        let escape = |replacement: &str| Err(PathRewriteError::Escape(replacement.to_owned()));
        assert_eq!(PathRewrite::regex("a", r"\x").map(drop), escape(r"\x"));
        assert_eq!(PathRewrite::regex("a", "b\\").map(drop), escape("b\\"));
        let error = PathRewrite::regex("(a)", r"\2").map(drop).unwrap_err();
        assert_eq!(error, PathRewriteError::Group { group: 2, groups: 1 });
    }

    #[test]
    fn a_path_shorter_than_the_prefix_stays() {
        assert_eq!(PathRewrite::prefix("/foo", "/").apply("/f"), None);
        assert_eq!(PathRewrite::prefix("/aa", "/").apply("/é"), Some("/".to_owned()));
        assert_eq!(PathRewrite::prefix("/a", "/").apply("/é"), None);
    }
}
