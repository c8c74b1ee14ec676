//! Istio's traffic rules, in process.

pub mod compile;
pub mod config;
pub mod dice;
pub mod error;
pub mod options;
pub mod outcome;
pub mod request;
pub mod route;
pub mod service;
pub mod snapshot;
pub mod telemetry;
pub mod upstream;

mod mesh;

#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "file")]
pub mod source;
#[cfg(feature = "client")]
pub mod transport;

pub use error::{BoxError, Error};
