//! Header operations as meant.

use super::path::Path;
use super::review::Review;
use crate::config::{self, Headers};
use crate::route::{Format, HeaderOpError, HeaderOps, HeaderOpsBuilder};

/// Headers of requests that Envoy's router has read by the time the rule sets them, and what its author may have meant.
const READ_BEFORE: [(&str, &str); 3] = [
    ("x-envoy-upstream-rq-timeout-ms", "timeout"),
    ("x-envoy-upstream-rq-per-try-timeout-ms", "retries.perTryTimeout"),
    ("x-envoy-hedge-on-per-try-timeout", "retries.perTryTimeout"),
];
const STREAM_DURATION: &str = "x-envoy-upstream-stream-duration-ms";

/// The operations of a rule or of a destination.
#[derive(Clone, Default)]
pub(crate) struct HeaderOperations {
    pub(crate) request: HeaderOps,
    pub(crate) response: HeaderOps,
}

/// The operations on the request and on the response. What cannot be is said and left out.
pub(crate) fn understand(headers: &Headers, path: &Path<'_>, review: &mut Review<'_>) -> HeaderOperations {
    let Headers { request, response } = headers;
    if let Some(request) = request {
        say_what_does_not_steer(request, &path.field("request"), review);
    }
    let request = operations(request.as_ref(), HeaderOps::request(), &path.field("request"), review);
    let response = operations(response.as_ref(), HeaderOps::response(), &path.field("response"), review);
    HeaderOperations { request, response }
}

fn operations(
    operations: Option<&config::HeaderOperations>,
    mut builder: HeaderOpsBuilder,
    path: &Path<'_>,
    review: &mut Review<'_>,
) -> HeaderOps {
    let Some(config::HeaderOperations { set, add, remove }) = operations else { return HeaderOps::default() };
    let map = path.field("set");
    for (name, value) in set {
        said(builder.set(name, value).err(), value, &map.key(name), review);
    }
    let map = path.field("add");
    for (name, value) in add {
        said(builder.add(name, value).err(), value, &map.key(name), review);
    }
    let list = path.field("remove");
    for (number, name) in remove.iter().enumerate() {
        said(builder.remove(name).err(), "", &list.index(number), review);
    }
    builder.build()
}

/// Names the headers that look as if the router obeyed them.
fn say_what_does_not_steer(operations: &config::HeaderOperations, path: &Path<'_>, review: &mut Review<'_>) {
    let config::HeaderOperations { set, add, .. } = operations;
    for (field, names) in [("set", set), ("add", add)] {
        for name in names.keys() {
            let path = path.field(field);
            let path = path.key(name);
            if let Some((_, meant)) = READ_BEFORE.iter().find(|(read, _)| name.eq_ignore_ascii_case(read)) {
                review
                    .without_effect(&path, &format!("the router has read it before; the rule's own word is `{meant}`"));
            } else if name.eq_ignore_ascii_case(STREAM_DURATION) {
                review.value_not_honored(&path, "a stream has no longest duration here; `timeout` bounds a request");
            }
        }
    }
}

/// Says what is wrong with an operation, or what of its value is not known here.
fn said(error: Option<HeaderOpError>, value: &str, path: &Path<'_>, review: &mut Review<'_>) {
    if let Some(error) = error {
        return review.left_out(path, &error.to_string());
    }
    if let Ok(format) = Format::parse(value) {
        for command in format.not_honored() {
            review.value_not_honored(path, &format!("%{command}% is not known here and comes out as nothing"));
        }
    }
}
