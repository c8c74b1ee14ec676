//! What follows a `101 Switching Protocols`: bytes both ways until one side ends.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::idle::Busy;

/// Joins the two connections. `held` is what the tunnel keeps alive: the response body and with it its counts.
pub(super) async fn run<B>(client: OnUpgrade, upstream: OnUpgrade, held: B, busy: Option<Busy>) {
    let (client, upstream) = match (client.await, upstream.await) {
        (Ok(client), Ok(upstream)) => (client, upstream),
        (Err(error), _) | (_, Err(error)) => {
            tracing::debug!(%error, "an upgrade was accepted and then came to nothing");
            return;
        }
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
        tracing::debug!(%error, "a tunnel broke off");
    }
    drop((held, busy));
}
