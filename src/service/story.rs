//! The tries of one request and the pauses between them: [`Story`].

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::admission::Waits;
use super::answer::answer;
use super::completion::Taken;
use super::deadline::Expired;
use super::ended::Ended;
use super::exchange::Exchange;
use super::https::Secured;
use super::local_reply::LocalReply;
use super::mirror;
use super::request_body::{Aim, RequestBody};
use super::response_body::ResponseBody;
use super::saved_head::SavedHead;
use super::unsent::{Unsent, first_body};
use super::upload::Upload;
use crate::error::BoxError;
use crate::outcome::{Failure, Outcome};
use crate::telemetry::ResponseFlags;
use crate::upstream::Endpoint;

/// A request on its way: what it was, where it is tried, and with what it may be tried again.
pub(super) struct Story<S, B> {
    pub(super) exchange: Box<Exchange>,
    pub(super) phase: Phase,
    /// The service for whatever comes after the first try; `None` if nothing can.
    pub(super) again: Option<S>,
    /// The request itself while a fault delays it.
    delayed: Option<Box<(Parts, Unsent<B>)>>,
    /// Its first try while the service keeps that waiting.
    first: Option<Box<Request<RequestBody<B>>>>,
    /// Its body, if that has to be shared.
    upload: Option<Arc<Upload<B>>>,
    /// What the try holds of the cluster.
    pub(super) taken: Option<Taken>,
    /// Where the try before the next one was.
    left: Option<Arc<Endpoint>>,
    /// What its first try shows, if that is yet to be made.
    pub(super) waits: Option<Arc<Waits>>,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Held back by a fault, until then.
    Delay(Instant),
    /// Before another try, until then.
    BackOff(Instant),
    /// The service is asked whether it is ready.
    Waiting,
    /// An answer is awaited.
    Trying,
}

impl<S, B> Story<S, B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// A request that was admitted.
    pub(super) fn new(exchange: Box<Exchange>) -> Self {
        Self {
            exchange,
            phase: Phase::Trying,
            again: None,
            delayed: None,
            first: None,
            upload: None,
            taken: None,
            left: None,
            waits: None,
        }
    }

    /// A request that was admitted and whose first try is made once the service is asked for it.
    pub(super) fn waiting(exchange: Box<Exchange>, again: S, head: Parts, body: B) -> Self {
        let mut story = Self { again: Some(again), ..Self::new(exchange) };
        story.wait(head, Unsent::Whole(body));
        story
    }

    /// A request that a fault holds back.
    pub(super) fn delayed(exchange: Box<Exchange>, again: S, delay: Duration, head: Parts, body: B) -> Self {
        let phase = Phase::Delay(Instant::now() + delay);
        let (delayed, again) = (Some(Box::new((head, Unsent::held(&exchange, body)))), Some(again));
        Self { phase, delayed, again, ..Self::new(exchange) }
    }

    /// Points the head of a request that was admitted at its first endpoint; the body that goes there with it, now.
    pub(super) fn first_try(&mut self, head: &mut Parts, body: B) -> Result<RequestBody<B>, LocalReply> {
        self.exchange.note_connect(head);
        let aim = self.aim(head);
        // Also a try that a fault ends may be followed by another, which needs the body.
        let (mut body, upload) = first_body(&mut self.exchange, body);
        self.upload = upload;
        body.aim_at(aim?);
        Ok(body)
    }

    /// Nothing but the service holds the first try back: its time begins when its body has come.
    fn wait(&mut self, head: Parts, body: Unsent<B>) {
        self.phase = Phase::Waiting;
        self.exchange.note_connect(&head);
        let (body, upload) = body.first(&mut self.exchange);
        (self.first, self.upload) = (Some(Box::new(Request::from_parts(head, body))), upload);
    }

    /// The answer if the cluster admits no more and the service, now called with the try, does not have it wait; as if it
    /// had not been called.
    pub(super) fn refused(&mut self, waits: Option<&Waits>) -> Option<LocalReply> {
        let admission = &self.taken.as_ref()?.admission;
        if let Some(waits) = waits {
            self.exchange.waits = waits.shown_by(admission);
        }
        if !admission.is_refused() {
            return None;
        }
        self.taken = None;
        self.exchange.attempts -= 1;
        Some(LocalReply::overflow(self.exchange.attempts > 0))
    }

    /// Takes an endpoint for a try.
    fn aim(&mut self, head: &mut Parts) -> Result<Aim, LocalReply> {
        let (taken, aim) = self.exchange.aim(head, false)?;
        self.taken = Some(taken);
        Ok(aim)
    }

    /// The request once more.
    fn next_try(&mut self) -> Result<Request<RequestBody<B>>, LocalReply> {
        let head = self.exchange.saved.as_ref().and_then(SavedHead::restore);
        let mut head = head.ok_or_else(LocalReply::bad_path)?;
        let aim = self.aim(&mut head)?;
        let body = match &self.upload {
            Some(upload) => RequestBody::shared(upload.read()).sized(!self.exchange.length_removed),
            None => RequestBody::empty(),
        };
        Ok(Request::from_parts(head, body.with_aim(aim)))
    }

    /// The request once more, for another endpoint than that of the try that is under way. `None`: it cannot be sent.
    pub(super) fn beside(&mut self) -> Option<(Request<RequestBody<B>>, Taken)> {
        let mut head = self.exchange.saved.as_ref()?.restore()?;
        self.exchange.tried.push(self.taken.as_ref()?.picked.endpoint().id);
        let aimed = self.exchange.aim(&mut head, true);
        self.exchange.tried.pop();
        let (taken, aim) = aimed.ok()?;
        let body = match &self.upload {
            Some(upload) => RequestBody::shared(upload.read_beside().ok()?).sized(!self.exchange.length_removed),
            None => RequestBody::empty(),
        };
        Some((Request::from_parts(head, body.with_aim(aim)), taken))
    }

    /// The request, now that the service is ready for it.
    pub(super) fn request(&mut self) -> Result<Request<RequestBody<B>>, LocalReply> {
        let Some(first) = self.first.take() else { return self.next_try() };
        let (mut head, mut body) = first.into_parts();
        if let Some(waits) = &self.waits {
            // Others may have shown it meanwhile.
            self.exchange.waits = waits.may();
        }
        body.aim_at(self.aim(&mut head)?);
        Ok(Request::from_parts(head, body))
    }

    /// The pause of a fault is over: the request goes through what comes after it.
    pub(super) fn undelay(&mut self) -> Result<(), LocalReply> {
        let Some(delayed) = self.delayed.take() else { return Ok(()) };
        let (mut head, body) = *delayed;
        let admitted = self.exchange.admit_delayed(&mut head);
        self.wait(head, body);
        admitted
    }

    /// The pause before another try is over.
    pub(super) fn try_again(&mut self) -> Result<(), LocalReply> {
        self.phase = Phase::Waiting;
        match &self.upload {
            // It may have been lost after it was decided to try again.
            Some(upload) => upload.begin_again().map_err(|lost| LocalReply::lost(lost, self.exchange.attempts > 1)),
            None => Ok(()),
        }
    }

    /// Sends the copies that are due, once.
    pub(super) fn send_mirrors<R>(&mut self)
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Send + 'static,
        R: Body + Send + 'static,
    {
        if let Some(service) = &self.again {
            self.exchange.send_mirrors(|saved, exchange, target| mirror::send(service, saved, exchange, target));
        }
    }

    /// Reads what no try reads yet, where a timeout begins with its end, a second try waits for that, its client may leave
    /// meanwhile, or the service keeps a try waiting, for which a copy may be the reason. Ready with the answer if
    /// it broke off: no try is to be blamed, nor waits any longer.
    pub(super) fn read_ahead(&self, cx: &mut Context<'_>) -> Poll<LocalReply> {
        let Exchange { listener, deadline, attempts, .. } = &*self.exchange;
        let waits = self.phase == Phase::Waiting || self.exchange.hedge().is_some();
        let awaited = waits || listener.is_some() || deadline.waits_for_end();
        match self.readable() {
            Some(upload) if awaited => {
                let read = upload.read_ahead(cx);
                // A copy that is yet to be sent holds nothing up.
                if self.phase == Phase::Waiting && self.exchange.mirrors().is_empty() {
                    upload.part_with_copies();
                }
                read.map(|error| LocalReply::failure(Failure::LocalReset, error.into(), *attempts > 1))
            }
            _ => Poll::Pending,
        }
    }

    /// Its body as far as that can be read ahead: of a try, or of a request that is held back.
    fn readable(&self) -> Option<&Upload<B>> {
        self.upload.as_deref().or_else(|| self.delayed.as_ref()?.1.upload())
    }

    pub(super) fn upload(&self) -> Option<&Arc<Upload<B>>> {
        self.upload.as_ref()
    }

    /// What came of a try that is over. An error is judged here, once: whoever is asked may not say the same again.
    pub(super) fn ended<R, E: Into<BoxError>>(&self, result: Result<Response<R>, E>) -> Ended<R> {
        match result {
            Ok(response) => Ended::Answer(response),
            Err(error) => {
                let error = error.into();
                // Whatever a client makes of that.
                let broke_off = self.upload.as_ref().is_some_and(|upload| upload.is_broken());
                let failure = if broke_off { Failure::LocalReset } else { self.exchange.classify(&*error) };
                Ended::Error(error, failure)
            }
        }
    }

    /// Judges what came of a try: whether another follows, after a pause that begins now.
    pub(super) fn goes_on<R>(&mut self, ended: &Ended<R>) -> bool {
        let outcome = self.taken.as_ref().and_then(|taken| self.report(taken, ended));
        self.exchange.note(outcome);
        // The place of a retry is free once that has ended.
        self.exchange.retry_place = None;
        let more = self.wants_more(ended, outcome) && self.may_go_on(ended);
        // The answer that is the client's says it itself.
        if let Some(taken) = self.taken.as_ref().filter(|_| more || !matches!(ended, Ended::Answer(_))) {
            self.exchange.note_spoken(taken.picked.endpoint(), outcome);
        }
        if !more {
            return false;
        }
        self.phase = Phase::BackOff(Instant::now() + self.pause(ended));
        if let Some(taken) = self.taken.take() {
            let endpoint = taken.picked.endpoint();
            self.exchange.tried.push(endpoint.id);
            self.left = Some(endpoint.clone());
        }
        if let Some(upload) = &self.upload {
            upload.give_up();
        }
        true
    }

    /// Tells outlier detection what came of a try.
    pub(super) fn report<R>(&self, taken: &Taken, ended: &Ended<R>) -> Option<Outcome> {
        let outcome = self.outcome(taken, ended);
        if let Some((outcome, cluster)) = outcome.zip(self.exchange.cluster.as_ref()) {
            taken.report(cluster, outcome);
        }
        outcome
    }

    /// What outlier detection is told.
    fn outcome<R>(&self, taken: &Taken, ended: &Ended<R>) -> Option<Outcome> {
        let whole = self.exchange.secured == Secured::Whole;
        Some(match ended {
            // Of what is sealed only its connection is judged.
            Ended::Answer(_) if whole => Outcome::Status(StatusCode::OK),
            Ended::Error(_, failure) if whole && !failure.is_connect() => return None,
            Ended::Answer(response) => {
                Outcome::of_answer(response.status(), response.headers(), self.exchange.asked.grpc)
            }
            Ended::Error(_, failure) => Outcome::Failure(*failure),
            // Before it has a connection it is nobody's fault.
            Ended::Expired(expired) if taken.admission.is_connected() => Outcome::Failure(expired.failure()),
            Ended::Expired(_) | Ended::Refused(_) => return None,
        })
    }

    /// Whether the rule asks for another try, as far as what happened goes.
    fn wants_more<R>(&self, ended: &Ended<R>, outcome: Option<Outcome>) -> bool {
        let Some(policy) = self.exchange.judge_of_tries() else { return false };
        match (ended, outcome) {
            // No time is left for it.
            (Ended::Expired(Expired::Request), _) => false,
            // Where there is no further try anyway, it meets no limit by its own doing.
            (_, Some(Outcome::Failure(Failure::LocalReset))) if self.exchange.retry().is_none() => false,
            (Ended::Answer(response), _) => policy.wants_response(response.status(), response.headers()),
            (Ended::Refused(reply), _) => {
                reply.status_of_try().is_some_and(|status| policy.wants_response(status, &HeaderMap::new()))
            }
            (_, Some(Outcome::Failure(failure))) => policy.wants_failure(failure, self.exchange.request_sent),
            _ => false,
        }
    }

    /// Whether it is the request's, whatever else is under way.
    pub(super) fn takes<R>(&self, ended: &Ended<R>) -> bool {
        match ended {
            Ended::Answer(_) => self.exchange.retry().is_none() || !self.wants_more(ended, None),
            Ended::Expired(expired) => *expired == Expired::Request,
            Ended::Error(..) | Ended::Refused(_) => false,
        }
    }

    /// Whether another try can be made; a flag says why not.
    fn may_go_on<R>(&mut self, ended: &Ended<R>) -> bool {
        let attempts = self.exchange.retry().map_or(0, |policy| policy.attempts);
        // Nothing is kept of what is sent once.
        let whole = attempts == 0 || self.upload.as_ref().is_none_or(|upload| upload.is_whole());
        let repeats = self.exchange.idempotent().unwrap_or(self.exchange.repeats);
        if !whole || !repeats {
            return false;
        }
        if self.exchange.attempts > attempts {
            self.exchange.flags |= ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
            return false;
        }
        if self.again.is_none() || self.exchange.saved.is_none() {
            return false;
        }
        self.exchange.retry_place = self.exchange.place_for_retry(self.taken.as_ref(), ended);
        if self.exchange.retry_place.is_none() {
            self.exchange.flags |= ResponseFlags::UPSTREAM_OVERFLOW;
            return false;
        }
        true
    }

    /// How long to wait before the next try.
    fn pause<R>(&mut self, ended: &Ended<R>) -> Duration {
        let asked = match ended {
            Ended::Answer(response) => self.exchange.asked_pause(response.headers()),
            _ => None,
        };
        asked.unwrap_or_else(|| self.exchange.back_off())
    }

    /// The answer for the client, or the error in its place.
    pub(super) fn conclude<R: Body>(self, ended: Ended<R>) -> Result<Response<ResponseBody<R>>, BoxError> {
        let broke_off = !matches!(ended, Ended::Answer(_)) && self.readable().is_some_and(Upload::is_broken);
        let Self { mut exchange, taken, upload, left, .. } = self;
        if broke_off && exchange.listener.is_some() {
            exchange.client_left();
        }
        if let Some(upload) = &upload {
            upload.keep_no_more();
            if exchange.tells_service_time() {
                exchange.read_at = upload.read_at();
            }
        }
        let retried = exchange.attempts > 1;
        // An abort of a try comes before its endpoint.
        let aborted = matches!(&ended, Ended::Refused(reply) if reply.status_of_try().is_some());
        let reply = match ended {
            Ended::Answer(response) => {
                let unfinished = upload.and_then(|upload| upload.unfinished());
                return Ok(answer(response, exchange, taken, unfinished));
            }
            Ended::Error(error, failure) => LocalReply::failure(failure, error, retried),
            Ended::Expired(expired) => exchange.expired(expired),
            Ended::Refused(reply) => reply,
        };
        // The try is over, although its answer is yet to be read.
        let endpoint = taken.map(|taken| taken.picked.endpoint().clone()).or(left.filter(|_| !aborted));
        reply.tried_at(endpoint).into_result(exchange)
    }
}
