//! Match blocks become matchers.

use super::path::Path;
use super::review::Review;
use crate::config::{HttpMatchRequest, StringMatch};
use crate::route::{RegexCache, RegexError, RouteMatch, RouteMatchBuilder, StringMatcher};

/// The regular expression that stands for mere presence. Validation takes it in `withoutHeaders` only.
const PRESENT: &str = "*";

/// Adds a condition on a part that every request has.
type AddPart = fn(RouteMatchBuilder, StringMatcher) -> RouteMatchBuilder;

/// Adds a condition on one of several parts, by its name.
type AddNamed = fn(RouteMatchBuilder, &str, StringMatcher) -> RouteMatchBuilder;

/// The matcher of one match block, without what is asked of where the request comes from. `None`: a regular
/// expression is wrong, which validation refuses.
pub(crate) fn understand(
    request: &HttpMatchRequest,
    path: &Path<'_>,
    regexes: &mut RegexCache,
    review: &mut Review<'_>,
) -> Option<RouteMatch> {
    let HttpMatchRequest {
        name: _,
        uri,
        scheme,
        method,
        authority,
        headers,
        port: _,
        source_labels: _,
        gateways: _,
        query_params,
        ignore_uri_case,
        without_headers,
        source_namespace: _,
        stat_prefix,
    } = request;
    review.not_honored(&path.field("statPrefix"), stat_prefix);
    let mut builder = RouteMatch::builder();
    let parts = [
        (uri, *ignore_uri_case, RouteMatchBuilder::uri as AddPart),
        (scheme, false, RouteMatchBuilder::scheme),
        (method, false, RouteMatchBuilder::method),
        (authority, false, RouteMatchBuilder::authority),
    ];
    for (matcher, ignore_case, add) in parts {
        let Some(matcher) = matcher else { continue };
        if let Some(matcher) = string_match(matcher, ignore_case, regexes).ok()? {
            builder = add(builder, matcher);
        }
    }
    let named = [
        ("headers", headers, (|builder, name, matcher| builder.header(name, matcher)) as AddNamed),
        ("withoutHeaders", without_headers, |builder, name, matcher| builder.without_header(name, matcher)),
        ("queryParams", query_params, |builder, name, matcher| builder.query(name, matcher)),
    ];
    for (field, matchers, add) in named {
        let map = path.field(field);
        for (name, matcher) in matchers {
            let mut matcher = presence_or(matcher.as_ref(), regexes).ok()?;
            if name.starts_with("@request.auth.claims") {
                review.value_not_honored(&map.key(name), "the claims of a token match nothing");
                // A claim that is not there is no empty text, as a header is.
                matcher = StringMatcher::present();
            }
            builder = add(builder, name, matcher);
        }
    }
    Some(builder.build())
}

/// A matcher of any text; `None` if it says nothing.
pub(crate) fn text(matcher: &StringMatch, regexes: &mut RegexCache) -> Option<StringMatcher> {
    string_match(matcher, false, regexes).ok().flatten()
}

/// A matcher of the path or a pseudo header; one without a type says nothing.
fn string_match(
    matcher: &StringMatch,
    ignore_case: bool,
    regexes: &mut RegexCache,
) -> Result<Option<StringMatcher>, RegexError> {
    let StringMatch { exact, prefix, regex } = matcher;
    Ok(match (exact, prefix, regex) {
        (Some(exact), _, _) if ignore_case => Some(StringMatcher::exact_ignore_case(exact)),
        (Some(exact), _, _) => Some(StringMatcher::exact(exact)),
        (_, Some(prefix), _) if ignore_case => Some(StringMatcher::prefix_ignore_case(prefix)),
        (_, Some(prefix), _) => Some(StringMatcher::prefix(prefix)),
        (_, _, Some(regex)) => Some(regexes.matcher(regex)?),
        (None, None, None) => None,
    })
}

/// A matcher of a header or query parameter; one without a type, or the regular expression `*`, asks for presence.
fn presence_or(matcher: Option<&StringMatch>, regexes: &mut RegexCache) -> Result<StringMatcher, RegexError> {
    match matcher {
        Some(StringMatch { exact: None, prefix: None, regex: Some(regex) }) if regex == PRESENT => {
            Ok(StringMatcher::present())
        }
        Some(matcher) => Ok(string_match(matcher, false, regexes)?.unwrap_or_else(StringMatcher::present)),
        None => Ok(StringMatcher::present()),
    }
}
