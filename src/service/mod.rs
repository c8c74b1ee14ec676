//! The motion: a request through the rules to an endpoint and back, as a tower Layer.

mod request_body;

pub use request_body::{Aim, RequestBody};
