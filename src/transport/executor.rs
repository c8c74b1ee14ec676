//! Where HTTP/2 connections spawn what goes on beside them: [`Executor`].

use std::future::Future;

/// Spawns on tokio's runtime, boxed: what hyper hands over for each request has room for a whole connection, some two
/// kilobytes, and tokio moves it nine times between here and its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(Box::pin(future));
    }
}
