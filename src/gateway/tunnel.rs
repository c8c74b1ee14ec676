//! What follows a `101 Switching Protocols`: bytes both ways until one side ends, or the listener is gone for long enough.

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

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
    let expires = async {
        match &busy {
            Some(busy) => busy.expires().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = tokio::io::copy_bidirectional(&mut client, &mut upstream) => if let Err(error) = ended {
            tracing::debug!(%error, "a tunnel broke off");
        },
        () = expires => tracing::debug!("a tunnel was closed: its listener is gone"),
    }
    drop((held, busy));
}

/// Sends the body of an answer through what its client may take for a tunnel.
pub(super) async fn say<B>(client: OnUpgrade, body: B)
where
    B: Body<Data = Bytes>,
{
    let Ok(client) = client.await else { return };
    let (mut client, mut body) = (TokioIo::new(client), std::pin::pin!(body));
    while let Some(data) = body.frame().await.and_then(|frame| frame.ok()?.into_data().ok()) {
        if client.write_all(&data).await.is_err() {
            return;
        }
    }
    // One that cannot be ended is gone.
    let _ = client.shutdown().await;
}
