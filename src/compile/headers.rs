//! Header operations as meant.

use super::path::Path;
use super::review::Review;
use crate::config::{HeaderOperations, Headers};
use crate::route::{HeaderOpError, HeaderOps, HeaderOpsBuilder};

/// The operations on the request and on the response. What is not supported is said and left out.
pub(crate) fn understand(
    headers: Option<&Headers>,
    path: &Path<'_>,
    review: &mut Review<'_>,
) -> (HeaderOps, HeaderOps) {
    let Some(Headers { request, response }) = headers else { return Default::default() };
    let request = operations(request.as_ref(), HeaderOps::request(), &path.field("request"), review);
    let response = operations(response.as_ref(), HeaderOps::response(), &path.field("response"), review);
    (request, response)
}

fn operations(
    operations: Option<&HeaderOperations>,
    mut builder: HeaderOpsBuilder,
    path: &Path<'_>,
    review: &mut Review<'_>,
) -> HeaderOps {
    let Some(HeaderOperations { set, add, remove }) = operations else { return HeaderOps::default() };
    let map = path.field("set");
    for (name, value) in set {
        said(builder.set(name, value).err(), &map.key(name), review);
    }
    let map = path.field("add");
    for (name, value) in add {
        said(builder.add(name, value).err(), &map.key(name), review);
    }
    let list = path.field("remove");
    for (number, name) in remove.iter().enumerate() {
        said(builder.remove(name).err(), &list.index(number), review);
    }
    builder.build()
}

fn said(error: Option<HeaderOpError>, path: &Path<'_>, review: &mut Review<'_>) {
    if let Some(error) = error {
        review.value_not_honored(path, &error.to_string());
    }
}
