//! Texts: string matches, regular expressions, header names and values, and the members of a oneof.

use super::CheckRegex;
use super::findings::Findings;
use crate::compile::path::Path;
use crate::config::StringMatch;
use crate::route::{AuthorityRewrite, Format};

/// What a regular expression may have, in bytes.
const LONGEST_REGEX: usize = 1024;

/// What to write for the regular expression `*`, which is none: where mere presence can be asked for, and elsewhere.
pub(crate) const PRESENT: &str = "write `{}` for mere presence, or `.*`";
pub(crate) const ANYTHING: &str = "write `.*`";

/// At most one of some fields may be set.
pub(crate) fn one_of(path: &Path<'_>, members: &[(&str, bool)], findings: &mut Findings) {
    let mut set = members.iter().filter(|(_, set)| *set).map(|(name, _)| *name);
    let Some(first) = set.next() else { return };
    if let Some(second) = set.next() {
        findings.error("V1", &path.field(second), format!("only one of `{first}` and `{second}` can be set"));
    }
}

/// A matcher that may ask for the empty prefix, as `uri` may. `any` is what to write for `*`.
pub(crate) fn uri_match(
    rule: &'static str,
    path: &Path<'_>,
    (matcher, any): (&StringMatch, &str),
    check: &CheckRegex<'_>,
    findings: &mut Findings,
) {
    let StringMatch { exact, prefix, regex } = matcher;
    one_of(path, &[("exact", exact.is_some()), ("prefix", prefix.is_some()), ("regex", regex.is_some())], findings);
    if let Some(pattern) = regex {
        self::regex(rule, &path.field("regex"), (pattern, any), check, findings);
    }
}

/// A matcher of a text.
pub(crate) fn string_match(
    rule: &'static str,
    path: &Path<'_>,
    matcher: &StringMatch,
    check: &CheckRegex<'_>,
    findings: &mut Findings,
) {
    if matcher.prefix.as_deref() == Some("") {
        findings
            .error(rule, &path.field("prefix"), "an empty prefix matches everything")
            .help("leave the match out, or write `{}` for mere presence");
    }
    uri_match(rule, path, (matcher, PRESENT), check, findings);
}

/// A regular expression in RE2's syntax. `any` is what to write for `*`.
pub(crate) fn regex(
    rule: &'static str,
    path: &Path<'_>,
    (pattern, any): (&str, &str),
    check: &CheckRegex<'_>,
    findings: &mut Findings,
) {
    if pattern.is_empty() {
        findings.error(rule, path, "a regex cannot be empty");
    } else if pattern.len() > LONGEST_REGEX {
        findings.error(rule, path, format!("a regex of {} bytes is too long: at most {LONGEST_REGEX}", pattern.len()));
    } else if let Err(reason) = check(pattern) {
        let finding = findings.error(rule, path, format!("`{pattern}` is not a regex: {reason}"));
        finding.help(if pattern == "*" { any } else { "the syntax is that of RE2" });
    }
}

/// Whether it is a token of RFC 7230, which every header name is. Istio takes commas too: in `corsPolicy` several names
/// in one text come to the same as a list of them, and a match asks for a header that nobody can send.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+,-.^_`|~".contains(&byte))
}

/// Whether a key of `headers` asks for a claim of a verified token: `@request.auth.claims.NAME` or `[NAME]`.
pub(crate) fn is_claim(name: &str) -> bool {
    const CLAIMS: &str = "@request.auth.claims";
    let Some((start, rest)) = name.split_at_checked(CLAIMS.len()) else { return false };
    let dotted = rest.len() > 1 && rest.starts_with('.');
    let bracketed = rest.len() > 2 && rest.starts_with('[') && rest.ends_with(']');
    start.eq_ignore_ascii_case(CLAIMS) && (dotted || bracketed)
}

/// The name of a header to match: a token, a pseudo header or a claim.
pub(crate) fn matched_header(rule: &'static str, path: &Path<'_>, name: &str, findings: &mut Findings) {
    let pseudo = matches!(name, ":method" | ":scheme" | ":authority" | ":path" | ":status");
    if name.is_empty() {
        findings.error(rule, path, "a header name cannot be empty");
    } else if !pseudo && !is_token(name) && !is_claim(name) {
        findings.error(rule, path, format!("`{name}` is not a header name"));
    }
}

/// The name of a header for `corsPolicy`: a token or `*`.
pub(crate) fn cors_header(rule: &'static str, path: &Path<'_>, name: &str, findings: &mut Findings) {
    if !is_token(name) {
        findings.error(rule, path, format!("`{name}` is not a header name"));
    }
}

/// Whether a header operation with this name changes the authority.
pub(crate) fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

/// What takes the place of the authority, if anything does.
pub(crate) fn authority(rule: &'static str, path: &Path<'_>, text: &str, findings: &mut Findings) {
    if !text.is_empty()
        && let Err(error) = AuthorityRewrite::new(text)
    {
        findings.error(rule, path, error.to_string());
    }
}

/// The name of a header to operate on; `host` and `:authority` only where `authority` says so.
pub(crate) fn operated_header(
    rule: &'static str,
    path: &Path<'_>,
    (name, authority): (&str, bool),
    findings: &mut Findings,
) {
    if name.is_empty() {
        findings.error(rule, path, "a header name cannot be empty");
    } else if is_authority(name) && !authority {
        findings
            .error(rule, path, format!("`{name}` can only be set or added on requests"))
            .help("use `rewrite.authority` or `headers.request.set.host`");
    } else if name.starts_with(':') && !is_authority(name) {
        findings.error(rule, path, format!("`{name}` cannot be operated on: it is a pseudo header"));
    }
}

/// A value to set or add: no control characters, and every `%` doubled or around a command that has a meaning here.
/// That of `host` is an authority, and literal.
pub(crate) fn header_value(rule: &'static str, path: &Path<'_>, (name, value): (&str, &str), findings: &mut Findings) {
    if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        findings.error(rule, path, "a header value cannot have control characters");
    } else if let Err(reason) = check_format(value.as_bytes()) {
        findings.error(rule, path, format!("the header value `{value}` is wrong: {reason}"));
    } else if is_authority(name) {
        authority(rule, path, value, findings);
    } else if let Err(error) = Format::parse(value) {
        findings.error(rule, path, format!("the header value `{value}` is wrong: {error}"));
    }
}

/// `%%`, `%NAME%`, `%NAME(arguments)%` and plain text.
fn check_format(mut value: &[u8]) -> Result<(), &'static str> {
    while let Some(start) = value.iter().position(|byte| *byte == b'%') {
        value = &value[start + 1..];
        let length = match value.iter().position(|byte| matches!(byte, b'%' | b'(')) {
            None => return Err("a single `%` begins a command that does not end; write `%%` for a percent sign"),
            Some(end) if value[end] == b'%' => end + 1,
            Some(open) => open + 1 + arguments(&value[open + 1..])?,
        };
        value = &value[length..];
    }
    Ok(())
}

/// What is read next of the arguments of a command.
#[derive(Clone, Copy)]
enum Arguments {
    /// Their first byte: `[` begins a list, and every other one is text, `)` and `"` too.
    First,
    Text,
    /// In a list: the `"` that begins a text.
    Quote,
    /// After the `"` that ends a text: `,` or `]`.
    Delimiter,
    /// The `)` behind a list.
    Close,
    /// The `%` at the end.
    End,
}

/// The length of `arguments)%`: a text, or a JSON list of texts. A backslash hides the byte after it; a `)` ends the
/// arguments within quotes too.
fn arguments(text: &[u8]) -> Result<usize, &'static str> {
    let (mut state, mut at) = (Arguments::First, 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        state = match (state, byte) {
            (Arguments::Text, b'\\') => {
                at += 1;
                Arguments::Text
            }
            (Arguments::Text | Arguments::Close, b')') => Arguments::End,
            (Arguments::Text, b'"') => Arguments::Delimiter,
            (Arguments::Text, _) | (Arguments::Quote, b'"') => Arguments::Text,
            (Arguments::End, b'%') => return Ok(at),
            (state, b' ') => state,
            (Arguments::First, b'[') | (Arguments::Delimiter, b',') => Arguments::Quote,
            (Arguments::First, _) => Arguments::Text,
            (Arguments::Delimiter, b']') => Arguments::Close,
            (Arguments::End, _) => return Err("after the `)` of a command comes its `%`"),
            _ => return Err("the arguments of a command are not a list of texts"),
        };
    }
    Err(match state {
        Arguments::End => "a command lacks the `%` at its end",
        _ => "the arguments of a command lack their `)`",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_balance_their_percent_signs() {
        for good in [
            "",
            "plain",
            "100%%",
            "%HOSTNAME%",
            "a %REQ(x-user)% b",
            "%START_TIME(%Y-%m-%dT%H:%M:%S)%",
            "%DYNAMIC_METADATA([\"a\", \"b\\\"]\"])%",
            "%A( x )  %",
            "%A( )x)%",
            "%A(a\\)b)%",
            "%A(a\"])%",
            "%%%HOSTNAME%%%",
        ] {
            assert_eq!(check_format(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in [
            "%",
            "100%",
            "a%b",
            "%START_TIME%%",
            "%REQ(x%",
            "%REQ(x)",
            "%REQ(x):10%",
            "%M([)%",
            "%M([a])%",
            "%M([\"a\"]%",
            "%M()%",
            "%M(a\"b)%",
            "%M(a\\",
            "%M([\"a)%\"])%",
            "%M([\"a\" \"b\"])%",
        ] {
            assert!(check_format(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn claims_are_named_with_dots_or_brackets() {
        for good in ["@request.auth.claims.sub", "@Request.Auth.Claims.a.b", "@request.auth.claims[a][b]"] {
            assert!(is_claim(good), "{good}");
        }
        for bad in ["@request.auth.claims", "@request.auth.claims.", "@request.auth.claims[]", "@request.auth.x", "é"]
        {
            assert!(!is_claim(bad), "{bad}");
        }
    }
}
