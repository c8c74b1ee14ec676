//! What a request body has to be.

use http_body::Body;

use crate::error::BoxError;

/// A request body that can be sent. It has no more to it than its bounds, which every such body meets.
pub trait Upload: Body<Data: Send, Error: Into<BoxError>> + Send + 'static {}

impl<B> Upload for B
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
}
