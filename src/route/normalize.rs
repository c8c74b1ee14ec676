//! Path normalization before anything is matched (`meshConfig.pathNormalization`), one function for each mode.
//!
//! They take the path without its query and give it back borrowed if nothing changes.
//!
//! ```
//! use std::borrow::Cow;
//!
//! use mesh_router::route::normalize;
//!
//! assert_eq!(normalize::base("/a/../b%61r//c%2Fd").unwrap(), "/bar//c%2Fd");
//! assert_eq!(normalize::merge_slashes("/a//b").unwrap(), "/a/b");
//! assert_eq!(normalize::decode_and_merge_slashes("/a%2F/b").unwrap(), "/a/b");
//! assert!(matches!(normalize::base("/plain/path"), Ok(Cow::Borrowed(_))));
//! assert!(normalize::base("/a#b").is_err());
//! ```

use std::borrow::Cow;

use crate::options::PathNormalization;

/// A path that cannot be normalized: the request is answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadPath {
    /// The path has a `#`.
    #[error("the path has a fragment")]
    Fragment,
    /// The path has a NUL byte, written plainly or as `%00`.
    #[error("the path has a NUL")]
    Nul,
}

/// A path as `mode` has it.
///
/// # Errors
/// [`BadPath`], which is answered with 400.
pub fn path(mode: PathNormalization, path: &str) -> Result<Cow<'_, str>, BadPath> {
    match mode {
        PathNormalization::None => none(path),
        PathNormalization::Base => base(path),
        PathNormalization::MergeSlashes => merge_slashes(path),
        PathNormalization::DecodeAndMergeSlashes => decode_and_merge_slashes(path),
    }
}

/// `NONE`: the path as it was received.
///
/// # Errors
/// [`BadPath::Fragment`].
pub fn none(path: &str) -> Result<Cow<'_, str>, BadPath> {
    if path.bytes().any(|byte| byte == b'#') { Err(BadPath::Fragment) } else { Ok(Cow::Borrowed(path)) }
}

/// `BASE`, Istio's default: resolves `.` and `..`, turns `\` into `/`, decodes the escapes of letters, digits and
/// `-._~`, and escapes bytes that may not stand in a path. Other escapes, `//` and a trailing slash stay.
///
/// # Errors
/// [`BadPath`].
pub fn base(path: &str) -> Result<Cow<'_, str>, BadPath> {
    let path_bytes = path.as_bytes();
    // A path in asterisk or authority form (`OPTIONS *`) is none to be resolved.
    if !matches!(path_bytes.first(), Some(b'/' | b'\\')) {
        return none(path);
    }
    if is_plain(path_bytes) {
        return Ok(Cow::Borrowed(path));
    }
    let canonical = canonicalize(path_bytes)?;
    Ok(if canonical == path { Cow::Borrowed(path) } else { Cow::Owned(canonical) })
}

/// `MERGE_SLASHES`: [`base`], then `//` becomes `/`.
///
/// # Errors
/// [`BadPath`].
pub fn merge_slashes(path: &str) -> Result<Cow<'_, str>, BadPath> {
    Ok(match base(path)? {
        Cow::Borrowed(path) if path.contains("//") => Cow::Owned(merge(path)),
        Cow::Owned(path) if path.contains("//") => Cow::Owned(merge(&path)),
        unchanged => unchanged,
    })
}

/// `DECODE_AND_MERGE_SLASHES`: [`merge_slashes`], after `%2F` and `%5C` were decoded.
///
/// # Errors
/// [`BadPath`].
pub fn decode_and_merge_slashes(path: &str) -> Result<Cow<'_, str>, BadPath> {
    if !path.contains('%') {
        return merge_slashes(path);
    }
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        decoded.push_str(before);
        let slash = match escape.as_bytes().get(1..3) {
            Some(b"2F" | b"2f") => '/',
            Some(b"5C" | b"5c") => '\\',
            _ => '%',
        };
        decoded.push(slash);
        rest = &escape[if slash == '%' { 1 } else { 3 }..];
    }
    decoded.push_str(rest);
    if decoded.len() == path.len() {
        return merge_slashes(path);
    }
    merge_slashes(&decoded).map(|path| Cow::Owned(path.into_owned()))
}

fn merge(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    merged
}

/// What is done with a byte of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// It stays, and so does its escape.
    Keep,
    /// It stays, and its escape is decoded.
    Unreserved,
    /// It may only stand escaped.
    Escape,
    /// `.`, `\`, `%`, `#` and NUL: see [`canonicalize`].
    Special,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Escape; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => Class::Unreserved,
            b'.' | b'\\' | b'%' | b'#' | 0 => Class::Special,
            b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' => Class::Keep,
            b':' | b';' | b'=' | b'@' | b'[' | b']' => Class::Keep,
            _ => Class::Escape,
        };
        byte += 1;
    }
    classes
};

/// What a byte may ask for: nothing (0), that no segment begins with it (a dot, 1), or a closer look (2).
const ASKS: [u8; 256] = {
    let mut asks = [2; 256];
    let mut byte = 0;
    while byte < 256 {
        match CLASSES[byte] {
            Class::Keep | Class::Unreserved => asks[byte] = 0,
            Class::Special if byte == b'.' as usize => asks[byte] = 1,
            Class::Special | Class::Escape => {}
        }
        byte += 1;
    }
    asks
};

/// Whether nothing can change: every byte may stand as it is, no segment begins with dots alone, and every escape is
/// one to keep.
fn is_plain(path: &[u8]) -> bool {
    // Most paths have nothing to look at twice. Without a way out in between the loop is as short as can be.
    match path.iter().fold(0, |asked, &byte| asked | ASKS[usize::from(byte)]) {
        0 => return true,
        1 if !path.windows(2).any(|pair| pair == b"/.") => return true,
        _ => {}
    }
    let mut previous = 0;
    path.iter().enumerate().all(|(at, &byte)| {
        let plain = match CLASSES[usize::from(byte)] {
            Class::Keep | Class::Unreserved => true,
            Class::Escape => false,
            Class::Special => match byte {
                b'.' => previous != b'/' || !matches!(path.get(at + 1), None | Some(b'.' | b'/' | b'\\' | b'%' | b';')),
                b'%' => escaped(&path[at + 1..]).is_some_and(keeps_escape),
                _ => false,
            },
        };
        previous = byte;
        plain
    })
}

/// Whether the escape of `byte` stays one.
fn keeps_escape(byte: u8) -> bool {
    !matches!(byte, 0 | b'.') && CLASSES[usize::from(byte)] != Class::Unreserved
}

/// Resolves a path that begins with a slash.
fn canonicalize(path: &[u8]) -> Result<String, BadPath> {
    let mut out = Output { text: String::with_capacity(path.len() + 8), lone_percent: None };
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let dot = dot(&path[at..]);
        if dot > 0 {
            at += out.dot(&path[at + dot..], dot);
            continue;
        }
        match CLASSES[usize::from(byte)] {
            Class::Keep | Class::Unreserved => out.push(byte),
            Class::Escape => out.escape(byte),
            Class::Special => match byte {
                b'#' => return Err(BadPath::Fragment),
                b'\\' => out.push(b'/'),
                b'%' => {
                    at += out.percent(&path[at + 1..])?;
                    continue;
                }
                _ => return Err(BadPath::Nul),
            },
        }
        at += 1;
    }
    Ok(out.text)
}

/// The length of a dot at the beginning of `path`, plain or escaped; 0 if there is none.
fn dot(path: &[u8]) -> usize {
    match path {
        [b'.', ..] => 1,
        [b'%', b'2', b'e' | b'E', ..] => 3,
        _ => 0,
    }
}

/// The byte that `%` and two digits stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let hex = |byte: u8| (byte as char).to_digit(16);
    match digits {
        [high, low, ..] => Some((hex(*high)? * 16 + hex(*low)?) as u8),
        _ => None,
    }
}

/// The bytes up to the next segment, if one of dots ends here. Behind plain dots it may have parameters (`..;a=b`), which
/// go with it: a server that drops them would see the dots.
fn segment_end(rest: &[u8], plain: bool) -> Option<usize> {
    match rest {
        [] => Some(0),
        [b'/' | b'\\', ..] => Some(1),
        [b';', ..] if plain => {
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'\\'));
            Some(end.map_or(rest.len(), |end| end + 1))
        }
        _ => None,
    }
}

struct Output {
    text: String,
    /// Where a `%` stands that began no escape.
    lone_percent: Option<usize>,
}

impl Output {
    fn push(&mut self, byte: u8) {
        self.text.push(byte as char);
        self.guard_percent();
    }

    fn escape(&mut self, byte: u8) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        self.text.push('%');
        self.text.push(DIGITS[usize::from(byte >> 4)] as char);
        self.text.push(DIGITS[usize::from(byte & 15)] as char);
    }

    /// A lone `%` must not become an escape by what was decoded after it (`%%36%31`): it is escaped itself then.
    fn guard_percent(&mut self) {
        if let Some(at) = self.lone_percent
            && self.text.len() == at + 3
        {
            if escaped(&self.text.as_bytes()[at + 1..]).is_some() {
                self.text.insert_str(at + 1, "25");
            }
            self.lone_percent = None;
        }
    }

    /// Takes what follows a `%`; gives the number of bytes that are done with, `%` included.
    fn percent(&mut self, digits: &[u8]) -> Result<usize, BadPath> {
        match escaped(digits) {
            Some(0) => Err(BadPath::Nul),
            Some(byte) if keeps_escape(byte) => {
                self.text.push('%');
                self.text.extend(digits[..2].iter().map(|digit| *digit as char));
                Ok(3)
            }
            Some(byte) => {
                self.push(byte);
                Ok(3)
            }
            None => {
                self.lone_percent = Some(self.text.len());
                self.text.push('%');
                Ok(1)
            }
        }
    }

    /// Takes a dot, `length` bytes long, and what follows; gives the number of bytes that are done with.
    fn dot(&mut self, after: &[u8], length: usize) -> usize {
        if self.text.ends_with('/') {
            if let Some(end) = segment_end(after, length == 1) {
                return length + end;
            }
            let second = dot(after);
            if second > 0
                && let Some(end) = segment_end(&after[second..], length == 1 && second == 1)
            {
                self.up();
                return length + second + end;
            }
        }
        self.push(b'.');
        length
    }

    /// Drops the last segment; the root stays.
    fn up(&mut self) {
        let segments = &self.text[..self.text.len() - 1];
        let parent = segments.rfind('/').map_or(1, |slash| slash + 1);
        self.text.truncate(parent);
        self.lone_percent = self.lone_percent.filter(|at| *at < parent);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Mode = fn(&str) -> Result<Cow<'_, str>, BadPath>;

    #[test]
    fn base_resolves_and_decodes() {
        for (path, wanted) in [
            ("/", "/"),
            ("/a/b/", "/a/b/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/public/../admin/x", "/admin/x"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e/b", "/a/b"),
            ("/a/..;/b", "/b"),
            ("/a/..;x=1/y", "/y"),
            ("/a/.;/y", "/a/y"),
            ("/a/b/..;", "/a/"),
            ("/a/b/..;x", "/a/"),
            ("/a/%2e%2e;/y", "/a/..;/y"),
            ("/a/...;/y", "/a/...;/y"),
            ("/a/b..;/y;z", "/a/b..;/y;z"),
            ("/a/..b", "/a/..b"),
            ("/a/.b", "/a/.b"),
            ("/a/...", "/a/..."),
            ("/a.b/c..", "/a.b/c.."),
            ("/a%2eb", "/a.b"),
            ("/a\\b\\..\\c", "/a/c"),
            ("\\a", "/a"),
            ("/%61%5F%7e%2D", "/a_~-"),
            ("/a%2Fb%2f%5C%c3%A9", "/a%2Fb%2f%5C%c3%A9"),
            ("/a b\"<>^`{|}", "/a%20b%22%3C%3E%5E%60%7B%7C%7D"),
            ("/é", "/%C3%A9"),
            ("/!$&'()*+,:;=@[]", "/!$&'()*+,:;=@[]"),
            ("/%zz%4", "/%zz%4"),
            ("/%%36%31", "/%2561"),
            ("/%%300", "/%2500"),
            ("/%4%31", "/%2541"),
            ("/%%2e", "/%."),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(base(path).as_deref(), Ok(wanted), "{path}");
        }
    }

    #[test]
    fn p1_nul_is_an_error() {
        assert_eq!(base("/a%00"), Err(BadPath::Nul));
        assert_eq!(base("/a\0"), Err(BadPath::Nul));
    }

    #[test]
    fn p2_base_keeps_double_and_escaped_slashes() {
        assert_eq!(base("//a//b%2F/").unwrap(), "//a//b%2F/");
        assert_eq!(base("/a//../b").unwrap(), "/a/b");
    }

    #[test]
    fn p3_a_fragment_is_an_error_in_every_mode() {
        for mode in [none as Mode, base, merge_slashes, decode_and_merge_slashes] {
            assert_eq!(mode("/a#b"), Err(BadPath::Fragment));
            assert_eq!(mode("*#b"), Err(BadPath::Fragment));
        }
    }

    #[test]
    fn none_leaves_everything_else() {
        assert_eq!(none("/a/../b%61\\%00").unwrap(), "/a/../b%61\\%00");
    }

    #[test]
    fn merge_slashes_merges_after_resolving() {
        assert_eq!(merge_slashes("///a//b/%2F").unwrap(), "/a/b/%2F");
        assert_eq!(merge_slashes("/a//../b").unwrap(), "/a/b");
        assert_eq!(merge_slashes("/a\\\\b").unwrap(), "/a/b");
    }

    #[test]
    fn decode_and_merge_slashes_decodes_first() {
        assert_eq!(decode_and_merge_slashes("/a%2F%2fb%5C%5cc").unwrap(), "/a/b/c");
        assert_eq!(decode_and_merge_slashes("/a%2F..%2Fb").unwrap(), "/b");
        assert_eq!(decode_and_merge_slashes("/a%252Fb").unwrap(), "/a%252Fb");
        assert_eq!(decode_and_merge_slashes("/%").unwrap(), "/%");
    }

    #[test]
    fn an_unchanged_path_is_borrowed() {
        for mode in [none as Mode, base, merge_slashes, decode_and_merge_slashes] {
            for path in ["/", "/api/v1/users", "/a.b/c", "/.well-known/x", "/a%20b", "*"] {
                assert!(matches!(mode(path), Ok(Cow::Borrowed(_))), "{path}");
            }
        }
    }

    proptest! {
        #[test]
        fn normalizing_twice_is_normalizing_once(path in "/([./%\\\\]|%2[eEfF5]|%5[cC]|[a2356FeE]|[é#\u{0} ]?){0,14}") {
            for mode in [none as Mode, base, merge_slashes, decode_and_merge_slashes] {
                if let Ok(once) = mode(&path) {
                    let twice = mode(&once);
                    prop_assert_eq!(twice.as_deref(), Ok(&*once), "{}", path);
                }
            }
        }

        #[test]
        fn nothing_panics(path in "\\PC{0,20}") {
            for mode in [none as Mode, base, merge_slashes, decode_and_merge_slashes] {
                let _ = mode(&path);
            }
        }
    }
}
