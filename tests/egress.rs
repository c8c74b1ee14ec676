//! The example of an egress gateway does what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../examples/egress.rs"]
mod egress;

use http::StatusCode;

#[tokio::test]
async fn requests_leave_through_the_gateway_and_no_other_way() {
    let (answers, gone) = egress::run().await.unwrap();
    assert_eq!(answers, ["outside.test, TLS originated", "outside.test, TLS unread"]);
    assert_eq!(gone, [StatusCode::SERVICE_UNAVAILABLE; 2]);
}
