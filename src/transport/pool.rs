//! The connections of one endpoint that carry one type of request body.

use std::any::Any;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::Upload;
use super::admission::Gate;
use super::asked::Asked;
use super::body::TransportBody;
use super::connect::{Spoken, Target};
use super::failure;
use super::head::{self, Wish};
use super::line::{self, Line, Rest};
use super::multiplex::Multiplex;
use super::place::{Place, Placed, Vacancy};
use super::queue::{Opening, Queue};
use super::settings::Settings;
use super::stack::Stack;
use super::terms::Terms;
use crate::error::BoxError;
use crate::outcome::FailureError;
use crate::service::{Admission, RequestBody};

/// How many connections a request goes through at most that turn out closed before a byte of it was written.
pub(super) const TRIES: usize = 5;

pub(super) struct Pool<B> {
    pub(super) settings: Arc<Settings>,
    pub(super) terms: Terms,
    stack: Stack<B>,
    queue: Queue<Loan<B>>,
    pub(super) multiplex: Multiplex<B>,
    /// Tasks with connections that have yet to come to rest for those who wait. They end with the pool.
    resting: Mutex<JoinSet<()>>,
    pub(super) asked: Asked,
    /// Whether connections are for those alone who wait for them, and not kept for others.
    retired: AtomicBool,
}

/// A connection on its way to a request that waited for it. Dropped on the way, it goes back.
pub(super) struct Loan<B> {
    line: Option<Line<B>>,
    fresh: bool,
    home: Arc<Pool<B>>,
    park: fn(&Arc<Pool<B>>, Line<B>),
}

impl<B: Upload> Loan<B> {
    fn new(line: Line<B>, fresh: bool, home: &Arc<Pool<B>>) -> Self {
        Self { line: Some(line), fresh, home: home.clone(), park: Pool::park }
    }
}

impl<B> Loan<B> {
    fn take(mut self) -> Option<Line<B>> {
        self.line.take()
    }
}

impl<B> Drop for Loan<B> {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            (self.park)(&self.home, line);
        }
    }
}

impl<B: Upload> Pool<B> {
    pub(super) fn new(settings: Arc<Settings>, terms: Terms) -> Self {
        let stack = Stack::new(settings.shards);
        Self {
            settings,
            terms,
            stack,
            queue: Queue::new(),
            multiplex: Multiplex::new(),
            resting: Mutex::default(),
            asked: Asked::now(),
            retired: AtomicBool::new(false),
        }
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// An idle HTTP/1.1 connection that nobody waits for.
    pub(super) fn checkout(&self) -> Option<Line<B>> {
        if self.queue.is_empty() { self.stack.pop(&self.terms) } else { None }
    }

    /// Keeps an HTTP/1.1 connection for the next request, or gives it to the first that waits.
    pub(super) fn park(self: &Arc<Self>, line: Line<B>) {
        if self.settings.is_closed() || line.is_spent(&self.terms) || self.is_retired() && self.queue.is_empty() {
            return;
        }
        let busy = line.rest() == Rest::Busy;
        self.stack.push(line);
        if self.settings.is_closed() {
            // Closed in between, and the stack may have been cleared already.
            self.stack.clear();
        }
        self.settle();
        if busy {
            self.settle_resting();
        }
        if self.is_retired() && self.queue.is_empty() {
            // Retired in between, or nobody waits any more.
            self.stack.clear();
        }
    }

    /// Has those who wait told when a connection comes to rest.
    fn settle_resting(self: &Arc<Self>) {
        while !self.queue.is_empty()
            && let Some(line) = self.stack.take_resting()
        {
            self.park_rested(line);
        }
    }

    /// Keeps a connection once its last exchange is over. Nobody is made to wait for it in particular, and whoever does
    /// wait no longer than for one that is opened: then it makes room.
    fn park_rested(self: &Arc<Self>, mut line: Line<B>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (pool, patience) = (Arc::downgrade(self), self.terms.connect_timeout);
        let rest = async move {
            let ready = timeout(patience, poll_fn(|cx| line.as_mut().poll_rest(cx))).await;
            if let Some(pool) = pool.upgrade()
                && ready.unwrap_or_else(|_| pool.queue.is_empty())
            {
                pool.park(line);
            }
        };
        self.with_resting(|resting| drop(resting.spawn_on(rest, &runtime)));
    }

    fn with_resting<T>(&self, with: impl FnOnce(&mut JoinSet<()>) -> T) -> T {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        while resting.try_join_next().is_some() {}
        with(&mut resting)
    }

    /// Gives idle connections to those who wait.
    fn settle(self: &Arc<Self>) {
        while !self.queue.is_empty() {
            let Some(line) = self.stack.take(&self.terms) else { return };
            if let Some(line) = self.queue.serve(Loan::new(line, false, self)).and_then(Loan::take) {
                self.stack.push(line);
            }
        }
    }

    /// Sends `request` where no connection was idle: it waits for the next one, or for one that is opened.
    ///
    /// One that was given back this moment may only wait for its driver to run, as happens with several threads. It
    /// gets one chance, which is cheaper than a connection more. After one that turned out closed comes a fresh one,
    /// if there may be any: others that are idle may be as dead.
    pub(super) async fn send(
        self: Arc<Self>,
        target: Target,
        mut request: Request<RequestBody<B>>,
        admission: Admission,
        mut fresh: bool,
    ) -> Result<Response<TransportBody>, BoxError> {
        let gate = Gate(admission);
        for _ in 1..TRIES {
            let (line, is_fresh) = match self.rested(fresh).await {
                Some(line) => match gate.enter() {
                    Ok(()) => (line, false),
                    Err(full) => {
                        self.park(line);
                        return Err(full.into());
                    }
                },
                None => self.wait(&target, &gate, fresh).await?,
            };
            match exchange(line, request, self.clone(), &gate).await {
                Ok(answered) => return answered.map_err(Into::into),
                Err(unsent) if !is_fresh => (request, fresh) = (unsent.request, true),
                Err(unsent) => return Err(failure::of_exchange(unsent.why).into()),
            }
        }
        let (line, _) = self.wait(&target, &gate, true).await?;
        match exchange(line, request, self, &gate).await {
            Ok(answered) => answered.map_err(Into::into),
            Err(unsent) => Err(failure::of_exchange(unsent.why).into()),
        }
    }

    async fn rested(&self, fresh: bool) -> Option<Line<B>> {
        if fresh || !self.stack.is_resting() {
            return None;
        }
        tokio::task::yield_now().await;
        self.checkout()
    }

    /// Waits for a connection in the queue. Whether it is a fresh one is said beside it.
    async fn wait(
        self: &Arc<Self>,
        target: &Target,
        gate: &Gate,
        fresh: bool,
    ) -> Result<(Line<B>, bool), FailureError> {
        let turn = self.queue.join(target, gate.wait(target)?);
        if !fresh {
            self.settle();
        }
        if !self.open_more(&Handle::current()) {
            self.settle();
            self.settle_resting();
        }
        let loan = turn.await?;
        gate.enter()?;
        let fresh = loan.fresh;
        loan.take().map(|line| (line, fresh)).ok_or_else(failure::of_lost_turn)
    }

    /// Opens as many connections as those who wait need and are allowed; whether there is one to wait for.
    fn open_more(self: &Arc<Self>, runtime: &Handle) -> bool {
        let mut any = false;
        while let Some(opening) = self.queue.open_one_more(1) {
            any = true;
            runtime.spawn(self.clone().open_line(opening));
        }
        any
    }

    async fn open_line(self: Arc<Self>, opening: Opening) {
        let Opening { target, permit } = opening;
        let place = Place::new(permit, self.vacancy(), false, Handle::current());
        // Over before the place is free again: nobody tries for those who are told of its failure.
        let attempt = self.queue.attempt();
        let line = match self.open(&target, &place).await {
            Ok(line) => line,
            Err(error) => return attempt.failed(error),
        };
        drop(place);
        attempt.opened();
        // Who waits need not wait for the driver to run.
        if let Some(mut line) = self.queue.serve(Loan::new(line, true, &self)).and_then(Loan::take)
            && poll_fn(|cx| line.as_mut().poll_rest(cx)).await
        {
            self.park(line);
        }
    }

    async fn open(&self, target: &Target, place: &Arc<Place>) -> Result<Line<B>, FailureError> {
        let handshake = |wire| async {
            let wire = Placed::new(wire, place.clone()).with_unsaid_ends(self.terms.unsaid_ends);
            let heard = wire.heard();
            let (sender, connection) =
                self.settings.http1.handshake(TokioIo::new(wire)).await.map_err(failure::of_exchange)?;
            let (leave, left) = oneshot::channel();
            tokio::spawn(line::drive(connection.with_upgrades(), left));
            Ok(line::new(sender, leave, heard))
        };
        target.open(&self.settings, &self.terms, Spoken::Http1, handshake).await
    }

    pub(super) fn vacancy(self: &Arc<Self>) -> Weak<dyn Vacancy> {
        Arc::downgrade(self) as Weak<dyn Vacancy>
    }
}

impl<B: Upload> Vacancy for Pool<B> {
    fn vacated(self: Arc<Self>, shared: bool, runtime: &Handle) {
        if shared {
            self.multiplex.queue.ended();
            self.open_more_shared(runtime);
        } else {
            self.queue.ended();
            self.open_more(runtime);
        }
    }

    fn freed(self: Arc<Self>) {
        self.settle_shared();
    }

    fn spent(self: Arc<Self>) {
        self.multiplex.drop_spent();
    }
}

/// An answer that can be handed on, or why there is none.
pub(super) type Answered = Result<Response<TransportBody>, FailureError>;

async fn exchange<B: Upload>(
    mut line: Line<B>,
    request: Request<RequestBody<B>>,
    home: Arc<Pool<B>>,
    Gate(admission): &Gate,
) -> Result<Answered, Unsent<B>> {
    let wish = Wish::of(&request);
    line.as_mut().start(request, home);
    match poll_fn(|cx| line.as_mut().poll_reply(cx)).await {
        Ok(response) => Ok(answered(line, response, wish, admission.clone())),
        Err(mut error) => match error.take_message() {
            Some(request) => Err(Unsent { request, why: error.into_error() }),
            None => Ok(Err(failure::of_answer(error.into_error(), line.has_heard()))),
        },
    }
}

/// A request of which no byte was written.
struct Unsent<B> {
    request: Request<RequestBody<B>>,
    why: hyper::Error,
}

/// The response to a request on `line`, with the connection in its body. A connection that was taken over by another
/// protocol lives on in the upgrade, and without a sender.
pub(super) fn answered<B: Upload>(
    mut line: Line<B>,
    response: Response<Incoming>,
    wish: Wish,
    admission: Admission,
) -> Answered {
    if !head::is_sound(response.status(), response.headers()) {
        return Err(failure::of_unsound_answer());
    }
    if wish.is_met(response.status())? {
        line.as_mut().hand_over();
        return Ok(response.map(TransportBody::unbound));
    }
    if response.version() < Version::HTTP_11 {
        // hyper would go on in the older version. Without a home it ends with its body.
        line.as_mut().leave();
    }
    Ok(response.map(|body| TransportBody::leased(body, line, admission)))
}

/// A [`Pool`] whose type of body is forgotten.
pub(super) trait Kept: Any + Send + Sync {
    /// Drops what is closed or too long idle.
    fn sweep(&self, now: Instant);

    fn asked(&self) -> &Asked;

    /// Closes what is idle.
    fn clear(&self);

    /// Whether it keeps connections from now on; if not, those that it has are to be cleared.
    fn keep(&self, keeps: bool);

    /// Whether requests have to do with it now.
    fn is_busy(&self) -> bool;

    /// Whether it holds no connection, lent ones included.
    fn is_unused(&self) -> bool;
}

impl<B: Upload> Kept for Arc<Pool<B>> {
    fn sweep(&self, now: Instant) {
        self.stack.sweep(&self.terms, now);
        self.multiplex.sweep(&self.terms, now);
        self.asked.sweep();
    }

    fn asked(&self) -> &Asked {
        &self.asked
    }

    fn clear(&self) {
        self.stack.clear();
        self.with_resting(JoinSet::abort_all);
        self.multiplex.clear();
    }

    fn keep(&self, keeps: bool) {
        self.retired.store(!keeps, Ordering::Release);
    }

    fn is_busy(&self) -> bool {
        Arc::strong_count(self) > 1 || self.multiplex.is_busy()
    }

    fn is_unused(&self) -> bool {
        !self.is_busy()
            && self.stack.is_empty()
            && self.multiplex.is_empty()
            && self.with_resting(|resting| resting.is_empty())
    }
}
