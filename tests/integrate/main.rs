//! The integrations against the real libraries, on sockets of this machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod axum;
mod examples;
mod hyper;
mod loopback;
mod reqwest;
mod reqwest_middleware;
#[path = "../support/shop.rs"]
mod shop;
mod tonic;
