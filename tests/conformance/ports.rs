//! Ports of 127.0.0.1 for upstreams, listeners and admin addresses.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

/// Below the range that the system takes source ports from: a port that is free stays free until it is opened.
const FIRST: u16 = 10_000;
const LAST: u16 = 31_000;

static NEXT: Mutex<Option<u16>> = Mutex::new(None);

/// A free port. None is given twice until all of them were.
pub(crate) fn free() -> Result<u16, String> {
    let mut next = NEXT.lock().unwrap();
    let mut port = next.unwrap_or_else(|| {
        let spread = u64::from(std::process::id()) * 131 % u64::from(LAST - FIRST);
        FIRST + spread as u16
    });
    for _ in FIRST..LAST {
        port = if port + 1 >= LAST { FIRST } else { port + 1 };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            *next = Some(port);
            return Ok(port);
        }
    }
    Err("no free port".to_owned())
}
