//! The examples run.
#![allow(dead_code, reason = "an example has a `main`")]

#[path = "../../examples/tonic_client/main.rs"]
pub(crate) mod tonic_client;

#[tokio::test]
async fn tonic_client_tries_twice_and_streams() {
    assert_eq!(tonic_client::run().await.unwrap(), "tried twice and streamed");
}
