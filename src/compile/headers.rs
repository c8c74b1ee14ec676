//! Header operations as meant.

use super::path::Path;
use super::review::Review;
use crate::config::{self, Headers};
use crate::route::{HeaderOpError, HeaderOps, HeaderOpsBuilder};

/// The operations of a rule or of a destination.
#[derive(Clone, Default)]
pub(crate) struct HeaderOperations {
    pub(crate) request: HeaderOps,
    pub(crate) response: HeaderOps,
}

/// The operations on the request and on the response. What cannot be is said and left out.
pub(crate) fn understand(headers: &Headers, path: &Path<'_>, review: &mut Review<'_>) -> HeaderOperations {
    let Headers { request, response } = headers;
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
        review.error(path, error.to_string());
    }
}
