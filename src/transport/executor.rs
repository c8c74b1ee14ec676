//! Where HTTP/2 connections spawn what goes on beside them: [`Executor`].

use std::future::Future;

/// Spawns on tokio's runtime, boxed: what hyper hands over for each request is large, in a client with room for a whole
/// connection, in a server with all that is done for the request, and tokio moves it several times between here and its
/// end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(Box::pin(future));
    }
}
