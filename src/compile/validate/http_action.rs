//! What an http rule does beside routing: redirect, direct response, rewrite (VH13, VH26 to VH31, VH36, VH37).

use super::{CheckRegex, Findings, numbers, strings};
use crate::compile::path::Path;
use crate::config::{
    HttpBody, HttpDirectResponse, HttpMatchRequest, HttpRedirect, HttpRewrite, HttpRoute, RegexRewrite,
};
use crate::route::Redirect;

const KIB: usize = 1024;

/// Judges `redirect`.
pub(crate) fn redirect(
    redirect: &HttpRedirect,
    matches: &[HttpMatchRequest],
    path: &Path<'_>,
    findings: &mut Findings,
) {
    let HttpRedirect { uri, authority, port, derive_port, scheme, redirect_code, prefix_rewrite } = redirect;
    strings::one_of(path, &[("port", port.is_some()), ("derivePort", derive_port.is_some())], findings);
    if !uri.is_empty() && !prefix_rewrite.is_empty() {
        findings.error("VH26", &path.field("prefixRewrite"), "`uri` and `prefixRewrite` cannot be in one redirect");
    }
    let not_a_prefix = |request: &HttpMatchRequest| request.uri.as_ref().is_some_and(|uri| uri.prefix.is_none());
    if !prefix_rewrite.is_empty() && matches.iter().any(not_a_prefix) {
        findings
            .error(
                "VH27",
                &path.field("prefixRewrite"),
                "there is no prefix to rewrite: a match has another kind of uri",
            )
            .help("match the uri by prefix, or write the new path to `uri`");
    }
    let ports = port.is_some() || derive_port.is_some();
    if uri.is_empty() && prefix_rewrite.is_empty() && authority.is_empty() && scheme.is_empty() && !ports {
        findings.error("VH28", path, "the redirect leads nowhere: it needs a uri, an authority, a port or a scheme");
    }
    let is_code =
        |code: &u32| u16::try_from(*code).ok().and_then(|code| Redirect::default().with_status(code)).is_some();
    if *redirect_code != 0 && !is_code(redirect_code) {
        let finding =
            findings.error("VH29", &path.field("redirectCode"), format!("{redirect_code} is no code of a redirect"));
        finding.help("write 301, 302, 303, 307 or 308");
    }
    if !matches!(scheme.as_str(), "" | "http" | "https") {
        findings.error("VH29", &path.field("scheme"), format!("the scheme `{scheme}` is neither `http` nor `https`"));
    }
    numbers::port_or_unset("VH29", &path.field("port"), port.unwrap_or(0), findings);
}

/// Judges `directResponse`.
pub(crate) fn direct_response(response: &HttpDirectResponse, path: &Path<'_>, findings: &mut Findings) {
    if response.status == 0 {
        findings.error("VH31", path, "a directResponse needs a status");
    } else {
        numbers::status("VH31", &path.field("status"), response.status.into(), findings);
    }
    let Some(HttpBody { string, bytes }) = &response.body else { return };
    let path = path.field("body");
    strings::one_of(&path, &[("string", string.is_some()), ("bytes", bytes.is_some())], findings);
    let size = |body: Option<&[u8]>| body.map_or(0, <[u8]>::len);
    let size = size(string.as_ref().map(|string| string.as_bytes())).max(size(bytes.as_ref().map(AsRef::as_ref)));
    if size > KIB * KIB {
        findings.error("VH30", &path, format!("a body of {size} bytes is too large: at most 1 MiB"));
    } else if size > 100 * KIB {
        findings.warning("VH30", &path, format!("a body of {size} bytes is large: it is copied with every version"));
    }
}

/// Judges `rewrite`.
pub(crate) fn rewrite(rewrite: &HttpRewrite, path: &Path<'_>, check: &CheckRegex<'_>, findings: &mut Findings) {
    let HttpRewrite { uri, authority, uri_regex_rewrite } = rewrite;
    if !uri.is_empty() && uri_regex_rewrite.is_some() {
        findings.error("VH36", &path.field("uriRegexRewrite"), "`uri` and `uriRegexRewrite` cannot be in one rewrite");
    }
    if uri.is_empty() && uri_regex_rewrite.is_none() && authority.is_empty() {
        findings.error("VH36", path, "the rewrite does nothing: it needs `uri`, `uriRegexRewrite` or `authority`");
    }
    strings::authority("VH36", &path.field("authority"), authority, findings);
    let Some(RegexRewrite { matches, rewrite }) = uri_regex_rewrite else { return };
    let path = path.field("uriRegexRewrite");
    if matches.is_empty() || rewrite.is_empty() {
        findings.error("VH37", &path, "a uriRegexRewrite needs both `match` and `rewrite`");
    }
    if !matches.is_empty() {
        strings::regex("VH37", &path.field("match"), (matches, strings::ANYTHING), check, findings);
    }
}

/// The authority can be set in one place of a rule.
pub(crate) fn authority(rule: &HttpRoute, path: &Path<'_>, findings: &mut Findings) {
    let Some(request) = rule.headers.as_ref().and_then(|headers| headers.request.as_ref()) else { return };
    let headers = path.field("headers");
    let headers = headers.field("request");
    let mut set = rule.rewrite.as_ref().is_some_and(|rewrite| !rewrite.authority.is_empty());
    for (field, map) in [("set", &request.set), ("add", &request.add)] {
        for (name, value) in map.iter().filter(|(name, _)| strings::is_authority(name)) {
            if set {
                findings
                    .error("VH13", &headers.entry(field, name), "the authority is set twice in this rule")
                    .help("keep one of `rewrite.authority` and `host` of `headers.request`");
            }
            set = set || !value.is_empty();
        }
    }
}
