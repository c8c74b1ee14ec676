//! When a request has taken too long: [`Deadline`].
//!
//! The timeout of a route (`http[].timeout`) begins when the request has been read to its end and covers all tries,
//! the pauses between them and the body of the response. `perTryTimeout` covers one try up to the head of its
//! response; it begins when the try has its connection, once the request has been read. A gRPC client's `grpc-timeout`
//! stands for the timeout of the route, which bounds it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::admission::Admission;
use super::upload_end::UploadEnd;
use crate::outcome::{Failure, number};
use crate::upstream::LONGEST;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// The largest number of a `grpc-timeout`: eight digits.
const LARGEST_OF_GRPC: u64 = 99_999_999;

/// The timeouts of one request. Without any, nothing here looks at a clock.
#[derive(Debug, Default)]
pub(super) struct Deadline {
    timeout: Option<Duration>,
    per_try: Option<Duration>,
    /// Tells when the request has been read, if it had not been from the start.
    upload: Option<Arc<UploadEnd>>,
    read_at: Option<Instant>,
    /// Tells when the try got its connection.
    admission: Option<Admission>,
    /// When the caller stops waiting, whether or not the request has been read.
    until: Option<Instant>,
}

/// Which timeout passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    Request,
    Try,
}

impl Expired {
    /// The failure that it is.
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Request => Failure::Timeout,
            Self::Try => Failure::PerTryTimeout,
        }
    }
}

impl Deadline {
    /// The timeouts of a rule for a request with these headers. A per-try timeout that is not below the timeout says
    /// nothing.
    pub(super) fn new(timeout: Option<Duration>, per_try: Option<Duration>, grpc: bool, headers: &HeaderMap) -> Self {
        let bounded = |time: Duration| (!time.is_zero()).then(|| time.min(LONGEST));
        let mut timeout = timeout.and_then(bounded);
        if grpc && let Some(asked) = headers.get(GRPC_TIMEOUT).and_then(grpc_timeout) {
            timeout = Some(timeout.map_or(asked, |timeout| timeout.min(asked)));
        }
        let per_try = per_try.and_then(bounded).filter(|per_try| timeout.is_none_or(|timeout| *per_try < timeout));
        Self { timeout, per_try, ..Self::default() }
    }

    pub(super) fn is_none(&self) -> bool {
        !self.counts_from_end() && self.until.is_none()
    }

    /// Whether a timeout begins with the end of the request.
    fn counts_from_end(&self) -> bool {
        self.timeout.is_some() || self.per_try.is_some()
    }

    /// Whether a timeout begins with the end of the request, which is not known to have come.
    pub(super) fn waits_for_end(&self) -> bool {
        self.upload.is_some() && self.read_at.is_none()
    }

    /// Whatever else holds, it is over then.
    pub(super) fn end_by(&mut self, until: Instant) {
        self.until = Some(until);
    }

    /// What there is at most, from the end of the request on.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The request had been read to its end at `read_at`.
    pub(super) fn begin(&mut self, read_at: Instant) {
        if !self.is_none() {
            self.read_at = Some(read_at);
        }
    }

    /// The request is still being read; the end that is to be told of.
    pub(super) fn begin_after_upload(&mut self) -> Option<Arc<UploadEnd>> {
        if !self.counts_from_end() {
            return None;
        }
        let end = Arc::new(UploadEnd::default());
        self.upload = Some(Arc::clone(&end));
        Some(end)
    }

    /// Whether it matters when a try gets its connection.
    pub(super) fn bounds_tries(&self) -> bool {
        self.per_try.is_some()
    }

    /// A try begins.
    pub(super) fn begin_try(&mut self, admission: &Admission) {
        if self.per_try.is_some() {
            self.admission = Some(admission.clone());
        }
    }

    /// The next timeout that will pass, if the request has been read; otherwise the task is woken when it has.
    pub(super) fn poll_next(&mut self, trying: bool, cx: &mut Context<'_>) -> Option<(Instant, Expired)> {
        let until = self.until.map(|until| (until, Expired::Request));
        let Some(read_at) = self.poll_read(cx) else { return until };
        let request = self.timeout.map(|timeout| (read_at + timeout, Expired::Request));
        let admission = self.admission.as_ref().filter(|_| trying);
        let each = admission.and_then(|admission| self.try_ends(read_at, admission, cx)).map(|at| (at, Expired::Try));
        // Of two at once the first counts.
        [until, request, each].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// When the time of a try passes by itself, which was admitted so.
    pub(super) fn poll_try(&mut self, admission: &Admission, cx: &mut Context<'_>) -> Option<Instant> {
        let read_at = self.poll_read(cx)?;
        self.try_ends(read_at, admission, cx)
    }

    fn try_ends(&self, read_at: Instant, admission: &Admission, cx: &mut Context<'_>) -> Option<Instant> {
        let per_try = self.per_try?;
        match admission.poll_connected(cx) {
            Poll::Ready(connected) => Some(connected.max(read_at) + per_try),
            Poll::Pending => None,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        if self.read_at.is_none()
            && let Some(Poll::Ready(end)) = self.upload.as_ref().map(|upload| upload.poll(cx))
        {
            self.read_at = Some(end);
        }
        self.read_at
    }

    /// What is left for the body of the response.
    pub(super) fn of_response(&mut self) -> Option<ResponseDeadline> {
        let Self { timeout, until, read_at, .. } = *self;
        let upload = self.upload.take().filter(|_| read_at.is_none());
        let at = timeout.zip(read_at).map(|(timeout, read_at)| read_at + timeout).into_iter().chain(until).min();
        let after = timeout.zip(upload);
        (at.is_some() || after.is_some()).then_some(ResponseDeadline { at, after })
    }

    /// Tells the upstream how long a try may take, as Envoy does: gRPC in its own header. A budget is told on.
    pub(super) fn announce(&self, headers: &mut HeaderMap, grpc: bool, at_listener: bool) {
        let counted = self.timeout.map(|timeout| match self.read_at {
            // Of what has passed only whole milliseconds are said.
            Some(read_at) => timeout.saturating_sub(Duration::from_millis(milliseconds(read_at.elapsed()))),
            None => timeout,
        });
        let budget = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        let Some(left) = [self.per_try, counted, budget].into_iter().flatten().min() else { return };
        let left = milliseconds(left).max(1);
        if at_listener || self.until.is_some() {
            headers.insert(EXPECTED_TIMEOUT, HeaderValue::from(left));
        }
        if grpc && let Ok(value) = HeaderValue::try_from(grpc_text(left)) {
            headers.insert(GRPC_TIMEOUT, value);
        }
    }

    /// Tells who gets a copy how long it may take, of which there is one try.
    pub(super) fn announce_to_copy(&self, headers: &mut HeaderMap) {
        if let Some(timeout) = self.timeout {
            headers.insert(EXPECTED_TIMEOUT, HeaderValue::from(milliseconds(timeout).max(1)));
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The timeout of a request while the body of its response is on the way.
#[derive(Debug)]
pub(super) struct ResponseDeadline {
    at: Option<Instant>,
    /// So long after the request has been read.
    after: Option<(Duration, Arc<UploadEnd>)>,
}

impl ResponseDeadline {
    /// When it passes, as far as that is known; the task is woken when more is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        if let Some((timeout, upload)) = &self.after
            && let Poll::Ready(end) = upload.poll(cx)
        {
            self.at = self.at.into_iter().chain([end + *timeout]).min();
            self.after = None;
        }
        self.at
    }
}

/// How long the caller of a request waits, by its headers.
pub(super) fn asked_timeout(headers: &HeaderMap) -> Option<Duration> {
    let grpc = headers.get(GRPC_TIMEOUT).and_then(grpc_timeout);
    let expected = headers.get(EXPECTED_TIMEOUT).and_then(|value| number(value.as_bytes()));
    let expected = expected.filter(|milliseconds| *milliseconds > 0).map(Duration::from_millis);
    grpc.into_iter().chain(expected).min()
}

/// `grpc-timeout`: a number below a hundred million and a unit. `None` if it is malformed or zero, which is no limit of
/// its own.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    let number = number::<u64>(digits).filter(|number| *number <= LARGEST_OF_GRPC)?;
    let milliseconds = match unit {
        b'H' => number * 3_600_000,
        b'M' => number * 60_000,
        b'S' => number * 1000,
        b'm' => number,
        b'u' => number.div_ceil(1000),
        b'n' => number.div_ceil(1_000_000),
        _ => return None,
    };
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

/// Milliseconds as long as 8 digits hold them, else the next unit that does.
fn grpc_text(milliseconds: u64) -> String {
    let units = [(1, 'm'), (1000, 'S'), (60_000, 'M'), (3_600_000, 'H')];
    let fitting = units.into_iter().find(|(size, _)| milliseconds / size <= LARGEST_OF_GRPC);
    let (size, unit) = fitting.unwrap_or((3_600_000, 'H'));
    let mut text = String::with_capacity(9);
    // Writing to a string does not fail.
    let _ = write!(text, "{}{unit}", (milliseconds / size).min(LARGEST_OF_GRPC));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    #[test]
    fn grpc_timeouts_are_read_as_envoy_reads_them() {
        let table: [(&'static str, Option<u64>); 21] = [
            ("5S", Some(5000)),
            ("99999999m", Some(99_999_999)),
            ("100000000m", None),
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("1u", Some(1)),
            ("1001u", Some(2)),
            ("1n", Some(1)),
            ("5000000n", Some(5)),
            ("99999999n", Some(100)),
            ("100000000n", None),
            ("0m", None),
            ("5", None),
            ("S", None),
            ("-1S", None),
            ("+1S", Some(1000)),
            ("1 S", Some(1000)),
            ("0000000001S", Some(1000)),
            ("1S ", None),
            ("++1S", None),
            ("1.5S", None),
        ];
        for (text, expected) in table {
            assert_eq!(grpc_timeout(&value(text)), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn long_timeouts_are_written_in_larger_units() {
        for (milliseconds, text) in [(1, "1m"), (99_999_999, "99999999m"), (100_000_000, "100000S")] {
            assert_eq!(grpc_text(milliseconds), text);
        }
        assert_eq!(grpc_text(u64::MAX), "99999999H");
    }

    /// The table of effective timeouts and of what the upstream is told.
    #[test]
    fn the_timeout_of_a_rule_bounds_that_of_grpc() {
        let (seconds, milliseconds) = (Duration::from_secs, Duration::from_millis);
        let table = [
            (None, None, None, None, None),
            (None, None, Some("5S"), Some(seconds(5)), Some("5000m")),
            (Some(seconds(2)), None, None, Some(seconds(2)), Some("2000m")),
            (Some(seconds(2)), None, Some("5S"), Some(seconds(2)), Some("2000m")),
            (Some(seconds(2)), None, Some("1S"), Some(seconds(1)), Some("1000m")),
            (Some(seconds(2)), Some(milliseconds(500)), Some("1S"), Some(seconds(1)), Some("500m")),
        ];
        for (timeout, per_try, header, effective, told) in table {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(GRPC_TIMEOUT, value(header));
            }
            let deadline = Deadline::new(timeout, per_try, true, &headers);
            assert_eq!(deadline.timeout, effective);
            headers.clear();
            deadline.announce(&mut headers, true, false);
            assert_eq!(headers.get(GRPC_TIMEOUT), told.map(value).as_ref());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_goes_down_by_whole_milliseconds() {
        let mut deadline = Deadline::new(Some(Duration::from_secs(1)), None, true, &HeaderMap::new());
        deadline.begin(Instant::now());
        for (passes, told) in [(900, "1000m"), (100, "999m"), (2500, "997m")] {
            tokio::time::advance(Duration::from_micros(passes)).await;
            let mut headers = HeaderMap::new();
            deadline.announce(&mut headers, true, true);
            assert_eq!((&headers[GRPC_TIMEOUT], headers.len()), (&value(told), 2));
            assert_eq!(headers[EXPECTED_TIMEOUT], told.trim_end_matches('m'));
        }
    }

    #[test]
    fn a_try_may_not_take_as_long_as_the_request() {
        let of = |seconds| Some(Duration::from_secs(seconds));
        let per_try = |timeout, per_try| Deadline::new(timeout, per_try, false, &HeaderMap::new()).per_try;
        assert_eq!(per_try(None, of(2)), of(2));
        assert_eq!(per_try(of(3), of(2)), of(2));
        for timeout in [of(2), of(1)] {
            assert_eq!(per_try(timeout, of(2)), None);
        }
        assert_eq!(per_try(of(1), None), None);
        assert!(Deadline::new(Some(Duration::ZERO), None, false, &HeaderMap::new()).is_none());
    }
}
