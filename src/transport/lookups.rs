//! Looking hosts up: [`Lookups`].

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

type Found = Result<Vec<SocketAddr>, Arc<io::Error>>;
pub(super) type Answer = watch::Receiver<Option<Found>>;

/// The look-ups under way, by name. The system's resolver has a thread for each until it is over, however early whoever
/// asked gives up: who asks for the same name meanwhile waits for the same answer.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    under_way: Mutex<HashMap<Box<str>, Answer>>,
}

impl Lookups {
    /// Has `look_up` find the addresses of `host`, from when it is its turn, which it keeps until it is over.
    pub(super) async fn ask(
        self: &Arc<Self>,
        host: &str,
        turns: Option<&Arc<Semaphore>>,
        look_up: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> Answer {
        let known = of(&self.lock(), host);
        match (known, turns) {
            (Some(answer), _) => answer,
            (None, Some(turns)) => self.begin(host, turns.clone().acquire_owned().await.ok(), look_up),
            (None, None) => self.begin(host, None, look_up),
        }
    }

    /// Begins to look `host` up, unless somebody else has meanwhile.
    fn begin(
        self: &Arc<Self>,
        host: &str,
        turn: Option<OwnedSemaphorePermit>,
        look_up: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> Answer {
        let mut under_way = self.lock();
        if let Some(answer) = of(&under_way, host) {
            return answer;
        }
        let (tell, answer) = watch::channel(None);
        under_way.insert(host.into(), answer.clone());
        let (all, host) = (self.clone(), Box::<str>::from(host));
        tokio::task::spawn_blocking(move || {
            let found = look_up(&host).map_err(Arc::new);
            drop(turn);
            all.lock().remove(&host);
            tell.send_replace(Some(found));
        });
        answer
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Answer>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes known of `host`. Nothing, if the look-up has ended without a word, as with its runtime.
fn of(under_way: &HashMap<Box<str>, Answer>, host: &str) -> Option<Answer> {
    under_way.get(host).filter(|answer| answer.has_changed().is_ok()).cloned()
}

/// The addresses, when they are known.
pub(super) async fn found(mut answer: Answer) -> io::Result<Vec<SocketAddr>> {
    let found = answer.wait_for(Option::is_some).await.map_err(io::Error::other)?;
    match &*found {
        Some(Ok(addresses)) => Ok(addresses.clone()),
        Some(Err(error)) => Err(again(error)),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// An error for one more who waited.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Asks the system.
pub(super) fn by_system(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((host, 0).to_socket_addrs()?.collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use tokio_test::{assert_pending, task};

    use super::*;

    /// A resolver that answers when it is told to.
    struct System {
        asked: Arc<AtomicUsize>,
        answers: mpsc::Sender<()>,
        answered: Arc<Mutex<mpsc::Receiver<()>>>,
    }

    impl System {
        fn new() -> Self {
            let (answers, answered) = mpsc::channel();
            Self { asked: Arc::default(), answers, answered: Arc::new(Mutex::new(answered)) }
        }

        fn look_up(&self) -> impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static {
            let (asked, answered) = (self.asked.clone(), self.answered.clone());
            move |host| {
                asked.fetch_add(1, Ordering::SeqCst);
                answered.lock().unwrap().recv().map_err(io::Error::other)?;
                if host == "none.test" { Err(io::ErrorKind::HostUnreachable.into()) } else { Ok(vec![address()]) }
            }
        }
    }

    fn address() -> SocketAddr {
        ([192, 0, 2, 1], 0).into()
    }

    #[tokio::test]
    async fn who_asks_for_a_name_that_is_looked_up_waits_for_that() {
        let (lookups, system) = (Arc::<Lookups>::default(), System::new());
        for (host, expected) in [("a.test", Ok(vec![address()])), ("none.test", Err(io::ErrorKind::HostUnreachable))] {
            let ask = || task::spawn(async { found(lookups.ask(host, None, system.look_up()).await).await });
            let asked = system.asked.load(Ordering::SeqCst);
            let mut given_up = ask();
            assert_pending!(given_up.poll());
            drop(given_up);
            let mut asking = [ask(), ask(), ask()];
            asking.iter_mut().for_each(|asking| assert_pending!(asking.poll()));
            system.answers.send(()).unwrap();
            for asking in asking {
                assert_eq!(asking.await.map_err(|error| error.kind()), expected);
            }
            assert_eq!(system.asked.load(Ordering::SeqCst), asked + 1);
            system.answers.send(()).unwrap();
            assert_eq!(ask().await.map_err(|error| error.kind()), expected);
            assert_eq!(system.asked.load(Ordering::SeqCst), asked + 2, "an answer is not kept");
        }
    }

    #[tokio::test]
    async fn a_look_up_keeps_its_turn_when_nobody_waits_for_it() {
        let (lookups, system) = (Arc::<Lookups>::default(), System::new());
        let (turns, others) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
        let ask = |host, turns| {
            let asked = lookups.ask(host, Some(turns), system.look_up());
            task::spawn(async { found(asked.await).await })
        };
        let mut given_up = ask("a.test", &turns);
        assert_pending!(given_up.poll());
        drop(given_up);
        assert_eq!(turns.available_permits(), 0);
        let mut waiting = ask("b.test", &turns);
        assert_pending!(waiting.poll());
        assert_eq!(lookups.lock().len(), 1);
        let mut elsewhere = ask("c.test", &others);
        assert_pending!(elsewhere.poll());
        assert_eq!(lookups.lock().len(), 2, "names of other clusters do not wait for it");
        for _ in 0..3 {
            system.answers.send(()).unwrap();
        }
        assert_eq!(waiting.await.unwrap(), [address()]);
        assert_eq!(elsewhere.await.unwrap(), [address()]);
        assert_eq!((turns.available_permits(), others.available_permits()), (1, 1));
    }
}
