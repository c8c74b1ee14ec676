//! What the other side of a connection may do, towards endpoints and towards clients.
//!
//! Many share an HTTP/2 connection, and most of these bounds end it for all of them: they are there against who means
//! harm, well above what honest ones come to together.

use hyper::client::conn::{http1, http2};
#[cfg(feature = "gateway")]
use hyper::server::conn::http2 as server;

use super::executor::Executor;

/// The smallest buffer hyper takes.
pub(crate) const MIN_BUFFER: usize = 8 * 1024;

/// How much of an answer's body an endpoint may send ahead of who reads it, and so what a client that reads nothing
/// costs: what hyper takes.
const ANSWER_AHEAD: u32 = 2 << 20;

/// The same of the body of a client's request, who may be anybody.
#[cfg(feature = "gateway")]
const REQUEST_AHEAD: u32 = 1 << 20;

/// As many bodies of one connection may wait in full before the others have to wait too. Half of their bytes is what
/// frames below 256 bytes that wait may lack of that size, all together, before h2 ends the connection: enough for one
/// body in frames of 20 bytes. The 24 MiB towards clients are Envoy's.
const WAITING: u32 = 24;

/// The most bytes the head of an answer of HTTP/1.1 may have (Envoy's `MAX_RESPONSE_HEADERS_KB`).
const MAX_ANSWER: usize = 80 * 1024;

/// The most bytes another head may have (Envoy's `DEFAULT_MAX_REQUEST_HEADERS_KB`).
pub(crate) const MAX_HEAD: usize = 60 * 1024;

/// The most lines a head may have (Envoy's `DEFAULT_MAX_HEADERS_COUNT`), in HTTP/2 with its pseudo-headers.
pub(crate) const MAX_LINES: usize = 100;

/// The same to h2, which adds 32 bytes to each line (RFC 9113, 6.5.2) and refuses one that comes to as much.
const MAX_LIST: u32 = (MAX_HEAD + 32 * (MAX_LINES + 1)) as u32;

/// Of how many streams that were given up it is remembered for a second that their frames may still come: all that a
/// connection has at a time.
const GIVEN_UP: usize = 1024;

/// How many resets an endpoint may provoke in the life of a connection: by frames for streams that nobody remembers, by
/// heads that are too long. There has to be an end, since those that it does not read wait in memory.
const PROVOKED_BY_ENDPOINT: usize = 1 << 16;

/// The same of a client. Of the uploads that were answered early, h2 remembers only 50.
#[cfg(feature = "gateway")]
const PROVOKED_BY_CLIENT: usize = 1 << 14;

/// How many requests that a client has canceled may wait to be looked at: as many as Envoy lets it cancel so early.
#[cfg(feature = "gateway")]
const CANCELED_UNSEEN: usize = 500;

/// Sets what endpoints may do.
pub(super) fn towards_endpoints(http1: &mut http1::Builder, http2: &mut http2::Builder<Executor>) {
    http1.max_header_size(MAX_ANSWER);
    http2.initial_stream_window_size(ANSWER_AHEAD).initial_connection_window_size(WAITING * ANSWER_AHEAD);
    http2.max_header_list_size(MAX_LIST);
    http2.max_concurrent_reset_streams(GIVEN_UP).max_local_error_reset_streams(PROVOKED_BY_ENDPOINT);
}

/// Sets what clients may do.
#[cfg(feature = "gateway")]
pub(crate) fn towards_clients(http2: &mut server::Builder<Executor>) {
    http2.initial_stream_window_size(REQUEST_AHEAD).initial_connection_window_size(WAITING * REQUEST_AHEAD);
    http2.max_header_list_size(MAX_LIST);
    http2.max_local_error_reset_streams(PROVOKED_BY_CLIENT).max_pending_accept_reset_streams(CANCELED_UNSEEN);
}
