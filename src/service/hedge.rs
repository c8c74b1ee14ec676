//! A second try beside a first that takes long: [`Hedge`].

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use tokio::time::{Instant, Sleep};
use tower_service::Service;

use super::completion::Taken;
use super::deadline::Expired;
use super::ended::Ended;
use super::exchange::Exchange;
use super::future::{poll_call, poll_until};
use super::request_body::RequestBody;
use super::story::Story;
use crate::error::BoxError;
use crate::upstream::Permit;

/// What may be sent beside the first try of a request, and what was.
pub(super) struct Hedge<F> {
    after: Duration,
    step: Step<F>,
}

enum Step<F> {
    /// Not before then.
    Due(Instant),
    /// Not before the request has been read to its end.
    Reading,
    /// The service is asked whether it is ready.
    Waiting(Permit),
    /// It was sent.
    Sent(Second<F>),
    /// There is none, or no more.
    Over,
}

/// The second try.
struct Second<F> {
    call: Pin<Box<F>>,
    /// What it holds of the cluster; `None` once the first try is over, for then that is the story's.
    taken: Option<Taken>,
    /// Its place among the retries of the cluster.
    _place: Permit,
}

/// One of two tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    First,
    Second,
}

/// What it is time for.
#[derive(Clone, Copy, Debug)]
enum Passed {
    /// The second try.
    Due,
    /// The end of a try.
    Try(Which),
    /// The end of the request.
    Request,
}

impl<F> Step<F> {
    fn after(begun: Instant, silence: Duration) -> Self {
        begun.checked_add(silence).map_or(Self::Over, Self::Due)
    }
}

impl<F> Hedge<F> {
    /// That of a request whose first try is sent now, if it is to have one.
    pub(super) fn of(exchange: &Exchange) -> Option<Box<Self>> {
        let after = exchange.hedge().filter(|_| exchange.attempts == 1)?;
        Some(Box::new(Self { after, step: Step::after(Instant::now(), after) }))
    }

    /// What comes of the request's first try and of the one beside it.
    pub(super) fn poll<S, B, R>(
        &mut self,
        story: &mut Story<S, B>,
        call: &mut Pin<&mut Option<F>>,
        timer: &mut Pin<&mut Option<Sleep>>,
        cx: &mut Context<'_>,
    ) -> Poll<Ended<R>>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>, Future = F> + Clone,
        S::Error: Into<BoxError>,
        F: Future<Output = Result<Response<R>, S::Error>>,
        B: Body,
        B::Error: Into<BoxError>,
    {
        loop {
            let (which, ended) = match self.poll_calls(story, call, cx) {
                Poll::Ready(ended) => ended,
                Poll::Pending => {
                    if let Poll::Ready(reply) = story.read_ahead(cx) {
                        return Poll::Ready(Ended::Refused(reply));
                    }
                    if self.goes_on(story, cx) {
                        continue;
                    }
                    match ready!(self.poll_clock(story, call.is_some(), timer, cx)) {
                        Passed::Due => {
                            self.begin(story, cx);
                            continue;
                        }
                        Passed::Try(which) => (which, Ended::Expired(Expired::Try)),
                        Passed::Request => (Which::First, Ended::Expired(Expired::Request)),
                    }
                }
            };
            if let Some(ended) = self.judge(story, call, which, ended) {
                return Poll::Ready(ended);
            }
        }
    }

    fn poll_calls<S, B, R, E>(
        &mut self,
        story: &Story<S, B>,
        call: &mut Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
    ) -> Poll<(Which, Ended<R>)>
    where
        F: Future<Output = Result<Response<R>, E>>,
        E: Into<BoxError>,
        B: Body,
        B::Error: Into<BoxError>,
    {
        if let Poll::Ready(ended) = poll_call(story, call, cx) {
            return Poll::Ready((Which::First, ended));
        }
        match &mut self.step {
            Step::Sent(second) => second.call.as_mut().poll(cx).map(|result| (Which::Second, story.ended(result))),
            _ => Poll::Pending,
        }
    }

    /// Waits for whatever time is up next.
    fn poll_clock<S, B>(
        &self,
        story: &mut Story<S, B>,
        first: bool,
        timer: &mut Pin<&mut Option<Sleep>>,
        cx: &mut Context<'_>,
    ) -> Poll<Passed> {
        let deadline = &mut story.exchange.deadline;
        let request = deadline.poll_next(false, cx).map(|(at, _)| (at, Passed::Request));
        let (due, beside) = match &self.step {
            Step::Due(at) => (Some((*at, Passed::Due)), None),
            Step::Sent(second) => (None, second.taken.as_ref()),
            _ => (None, None),
        };
        let mut end_of =
            |taken: Option<&Taken>, which| Some((deadline.poll_try(&taken?.admission, cx)?, Passed::Try(which)));
        let one = end_of(story.taken.as_ref(), if first { Which::First } else { Which::Second });
        let other = end_of(beside, Which::Second);
        // Of several at once the first counts.
        match [request, one, other, due].into_iter().flatten().min_by_key(|(at, _)| *at) {
            Some((at, passed)) => poll_until(timer, at, cx).map(|()| passed),
            None => Poll::Pending,
        }
    }

    /// There was no answer for so long: decides whether a second try is made.
    fn begin<S, B>(&mut self, story: &Story<S, B>, cx: &mut Context<'_>)
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        if let Some(upload) = story.upload() {
            match upload.poll_end(cx) {
                Poll::Ready(end) if end.elapsed() < self.after => {
                    self.step = Step::after(end, self.after);
                    return;
                }
                Poll::Ready(_) => {}
                Poll::Pending => {
                    self.step = Step::Reading;
                    return;
                }
            }
        }
        let whole = story.upload().is_none_or(|upload| upload.is_whole());
        let cluster = story.exchange.cluster.as_ref().filter(|_| whole);
        let place = cluster.and_then(|cluster| cluster.limits().retry());
        self.step = place.map_or(Step::Over, Step::Waiting);
    }

    /// Does what can be done for the second try without waiting; whether it is a step further.
    fn goes_on<S, B>(&mut self, story: &mut Story<S, B>, cx: &mut Context<'_>) -> bool
    where
        S: Service<Request<RequestBody<B>>, Future = F> + Clone,
        B: Body,
        B::Error: Into<BoxError>,
    {
        match &self.step {
            Step::Reading => {
                let Some(upload) = story.upload() else { return false };
                let Poll::Ready(end) = upload.poll_end(cx) else { return false };
                self.step = Step::after(end, self.after);
                true
            }
            Step::Waiting(_) => {
                let ready = story.again.as_mut().map(|service| service.poll_ready(cx).map_err(drop));
                match ready {
                    Some(Poll::Pending) => return false,
                    Some(Poll::Ready(Ok(()))) => self.send(story),
                    Some(Poll::Ready(Err(()))) => {
                        // One that failed is not asked again: what may follow has another.
                        story.again = story.again.clone();
                        self.step = Step::Over;
                    }
                    None => self.step = Step::Over,
                }
                true
            }
            Step::Due(_) | Step::Sent(_) | Step::Over => false,
        }
    }

    /// Sends the second try, now that the service is ready for it.
    fn send<S, B>(&mut self, story: &mut Story<S, B>)
    where
        S: Service<Request<RequestBody<B>>, Future = F> + Clone,
        B: Body,
        B::Error: Into<BoxError>,
    {
        let Step::Waiting(place) = mem::replace(&mut self.step, Step::Over) else { return };
        let beside = story.beside();
        let Some(service) = &mut story.again else { return };
        match beside {
            Some((request, taken)) => {
                let call = Box::pin(service.call(request));
                if taken.admission.is_refused() {
                    return;
                }
                self.step = Step::Sent(Second { call, taken: Some(taken), _place: place });
            }
            None => {
                // What was reserved with the service that is ready is given up.
                let unready = service.clone();
                *service = unready;
            }
        }
    }

    /// Whether what came of a try is the request's. If not, that try is given up, and the other goes on alone.
    fn judge<S, B, R>(
        &mut self,
        story: &mut Story<S, B>,
        call: &mut Pin<&mut Option<F>>,
        which: Which,
        ended: Ended<R>,
    ) -> Option<Ended<R>>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let Step::Sent(second) = &mut self.step else { return Some(ended) };
        // Only one is under way, and what it holds is the story's.
        let Some(taken) = second.taken.take() else { return Some(ended) };
        let takes = story.takes(&ended);
        if takes && which == Which::First {
            if matches!(ended, Ended::Expired(_)) {
                // The time of both is over.
                story.report(&taken, &ended);
            }
            return Some(ended);
        }
        let given_up = match which {
            Which::First => {
                call.set(None);
                story.taken.replace(taken)
            }
            Which::Second if takes => {
                story.taken = Some(taken);
                return Some(ended);
            }
            Which::Second => {
                self.step = Step::Over;
                Some(taken)
            }
        };
        if let Some(given_up) = given_up {
            let outcome = story.report(&given_up, &ended);
            story.exchange.note(outcome);
            story.exchange.tried.push(given_up.picked.endpoint().id);
        }
        None
    }
}
