//! An upstream on a real socket that falls ill when told to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What is wrong with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Its socket and its connections are closed.
    Killed,
    /// It accepts, reads and never answers.
    Hung,
    /// It resets the connection in the middle of the body.
    Reset,
    /// It answers late.
    Slow,
}

/// How late a slow answer is.
pub(crate) const LATE: Duration = Duration::from_millis(100);

pub(crate) struct Upstream {
    pub(crate) port: u16,
    pub(crate) fault: watch::Sender<Fault>,
    /// The requests that it read.
    pub(crate) requests: Arc<AtomicUsize>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (fault, faults) = watch::channel(Fault::None);
        let requests = Arc::new(AtomicUsize::new(0));
        tokio::spawn(accept(listener, faults, requests.clone()));
        Self { port, fault, requests }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn killed(mut fault: watch::Receiver<Fault>) {
    // Who is gone kills nobody.
    if fault.wait_for(|fault| *fault == Fault::Killed).await.is_err() {
        std::future::pending().await
    }
}

async fn accept(listener: TcpListener, fault: watch::Receiver<Fault>, requests: Arc<AtomicUsize>) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = killed(fault.clone()) => return,
        };
        let Ok((stream, _)) = stream else { return };
        let (fault, requests) = (fault.clone(), requests.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = serve(stream, fault.clone(), &requests) => {}
                () = killed(fault) => {}
            }
        });
    }
}

/// Answers requests without a body, one after another.
async fn serve(mut stream: TcpStream, fault: watch::Receiver<Fault>, requests: &AtomicUsize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut read = Vec::with_capacity(1024);
    loop {
        while !read.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        read.clear();
        requests.fetch_add(1, Ordering::SeqCst);
        let fault = *fault.borrow();
        match fault {
            Fault::Hung => {
                // Until the client gives up.
                let gone = stream.read(&mut [0]).await?;
                assert_eq!(gone, 0, "nothing follows a request without an answer");
                return Ok(());
            }
            Fault::Reset => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\npart").await?;
                // The head is not lost with the connection.
                tokio::time::sleep(Duration::from_millis(20)).await;
                return stream.set_zero_linger();
            }
            Fault::Slow => tokio::time::sleep(LATE).await,
            Fault::None | Fault::Killed => {}
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwell\n").await?;
    }
}
