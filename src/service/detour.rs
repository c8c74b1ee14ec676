//! The way in of a connection that outlives its listener: [`Detour`].

use std::fmt::Debug;

use crate::request::Origin;
use crate::snapshot::Snapshot;

/// Knows where the requests of one connection come in.
pub(crate) trait Detour: Debug + Send + Sync {
    /// Where a request comes in by the rules of `snapshot`, by which it is decided; `None`: at `own`. Asked of every
    /// request.
    fn taken(&self, snapshot: &Snapshot, own: &Origin) -> Option<Origin>;
}
