//! Paths that reqwest would not send as they are.

use http::Request;

use crate::outcome::{Failure, FailureError};
use crate::service::RequestBody;

/// Refuses a path of which reqwest would send another than the one that the rules matched.
pub(super) fn check_path<B>(request: &Request<RequestBody<B>>) -> Result<(), FailureError> {
    match request.body().aim().is_some() && is_resolved(request.uri().path()) {
        true => Err(FailureError::new(Failure::LocalReset, "reqwest would resolve the path to another one")),
        false => Ok(()),
    }
}

/// Whether a `Url` makes another path of this one: it resolves one and two dots, and takes `\` for `/`.
fn is_resolved(path: &str) -> bool {
    let path = path.as_bytes();
    path.iter().enumerate().any(|(at, byte)| match byte {
        b'\\' => true,
        b'/' => begins_with_dots(&path[at + 1..]),
        _ => false,
    })
}

/// Whether the first segment is one or two dots.
fn begins_with_dots(segments: &[u8]) -> bool {
    after_dot(segments).is_some_and(|rest| matches!(after_dot(rest).unwrap_or(rest), [] | [b'/', ..]))
}

/// What follows a dot, which may be escaped.
fn after_dot(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::*;

    #[test]
    fn a_path_that_a_url_resolves_is_known() {
        for path in [
            "/",
            "//",
            "/a/b",
            "//other.test/x",
            "/.",
            "/..",
            "/.//x",
            "//..//x",
            "/a/../b",
            "/a/./b",
            "/a/%2e",
            "/a/%2E./b",
            "/a/.%2e/",
            "/a/%2e%2E",
            "/a/...",
            "/a/.../b",
            "/a/%2e%2e%2e/b",
            "/.a/b",
            "/a/..b",
            "/a/b..",
            "/a/%2",
            "/a/%2eb",
            "/a/%252e/b",
            "/a/..;b/c",
            "/a/..%2fb",
            "/a\\b",
            "/a/..\\b",
            "/a/%5c../b",
        ] {
            let resolved = Url::parse(&format!("http://name.test{path}")).is_ok_and(|url| url.path() != path);
            assert_eq!(is_resolved(path), resolved, "{path}");
        }
    }
}
