//! From the answer of an endpoint to that for the client.

use http::{Response, StatusCode};
use http_body::Body;

use super::completion::{Completion, Taken, Unfinished};
use super::exchange::Exchange;
use super::hop::KEEP_ALIVE;
use super::response_body::ResponseBody;
use super::route_info::RouteInfo;
use crate::telemetry::ResponseFlags;

/// Whether an answer with this status is over with its head: nobody waits for more of it.
pub(super) fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// The upstream's answer, as the client gets it.
pub(super) fn answer<R: Body>(
    response: Response<R>,
    mut exchange: Box<Exchange>,
    taken: Option<Taken>,
    unfinished: Option<Unfinished>,
) -> Response<ResponseBody<R>> {
    let (mut head, body) = response.into_parts();
    let mut info = exchange.outcome(ResponseFlags::NONE, RouteInfo::VIA_UPSTREAM);
    info.endpoint = taken.as_ref().map(|taken| taken.picked.endpoint().clone());
    exchange.spoken = Some(head.version);
    exchange.service_time(&mut head.headers);
    if exchange.listener.is_some() {
        // Of the connection to the endpoint; of that to the client only the rule may speak.
        head.headers.remove(KEEP_ALIVE);
    }
    if taken.is_some() {
        exchange.set_cookies(&mut head.headers);
    }
    exchange.finish_response(head.status, &mut head.headers, &info);
    let mut record = exchange.answered(head.status, info.flags);
    if let Some(record) = &mut record {
        record.trailers(&head.headers);
    }
    let tunnel = head.status == StatusCode::SWITCHING_PROTOCOLS || (exchange.connects && head.status.is_success());
    let deadline = exchange.deadline.of_response().filter(|_| !tunnel);
    let comes_in = exchange.listener.is_some() || exchange.inbound;
    let awaited = comes_in && !tunnel && !exchange.asked.head && !is_bodiless(head.status);
    let completion = Completion { taken, record, cluster: exchange.judge().cloned(), awaited: 0, request: unfinished };
    exchange.tell(&mut info);
    head.extensions.insert(info);
    let body = ResponseBody::upstream(body, completion, deadline, awaited.then_some(&head.headers));
    Response::from_parts(head, body)
}
