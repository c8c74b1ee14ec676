//! Redirects, direct responses and rewrites: what of them depends on the match that led there, and what does not.

use bytes::Bytes;
use http::StatusCode;

use crate::config::{HttpBody, HttpDirectResponse, HttpRedirect, RedirectPortSelection, StringMatch};
use crate::route::{DirectResponse, PathRewrite, Redirect, RedirectPort, RedirectScheme};

/// What replaces the part of the path that `uri` matched: the prefix, or all of what was matched in another way.
/// Without a condition on the path it is the prefix `/`.
pub(crate) fn path_rewrite(uri: Option<&StringMatch>, with: &str) -> PathRewrite {
    match uri {
        Some(StringMatch { exact: Some(_), .. }) => PathRewrite::whole(with),
        Some(StringMatch { prefix: Some(prefix), .. }) => PathRewrite::prefix(prefix, with),
        Some(StringMatch { regex: Some(_), .. }) => PathRewrite::whole(with),
        _ => PathRewrite::prefix("/", with),
    }
}

/// The redirect for a match of `uri`; `None` if its code is none of a redirect, which validation refuses.
pub(crate) fn redirect(words: &HttpRedirect, uri: Option<&StringMatch>) -> Option<Redirect> {
    let HttpRedirect { uri: path, authority, port, derive_port, scheme, redirect_code: code, prefix_rewrite } = words;
    let mut redirect = Redirect::default();
    if *code != 0 {
        redirect = redirect.with_status(u16::try_from(*code).ok()?)?;
    }
    match scheme.as_str() {
        "http" => redirect = redirect.with_scheme(RedirectScheme::Http),
        "https" => redirect = redirect.with_scheme(RedirectScheme::Https),
        _ => {}
    }
    if !authority.is_empty() {
        redirect = redirect.with_authority(authority);
    }
    redirect = redirect.with_port(match (port.and_then(|port| u16::try_from(port).ok()), derive_port) {
        (Some(port @ 1..), _) => RedirectPort::Fixed(port),
        (_, Some(RedirectPortSelection::FromRequestPort)) => RedirectPort::OfRequest,
        (_, Some(RedirectPortSelection::FromProtocolDefault) | None) => RedirectPort::Kept,
    });
    Some(match (path.as_str(), prefix_rewrite.as_str()) {
        ("", "") => redirect,
        ("", prefix) => redirect.with_path_rewrite(path_rewrite(uri, prefix)),
        (path, _) => redirect.with_path(path),
    })
}

/// The fixed answer; `None` if its status is none of HTTP, which validation refuses.
pub(crate) fn direct_response(words: &HttpDirectResponse) -> Option<DirectResponse> {
    let HttpDirectResponse { status, body } = words;
    let body = match body {
        Some(HttpBody { bytes: Some(bytes), .. }) => bytes.as_bytes().clone(),
        Some(HttpBody { string: Some(string), .. }) => Bytes::from(string.clone()),
        Some(HttpBody { string: None, bytes: None }) | None => Bytes::new(),
    };
    let status = StatusCode::from_u16(u16::try_from(*status).ok()?).ok()?;
    Some(DirectResponse { status, body })
}
