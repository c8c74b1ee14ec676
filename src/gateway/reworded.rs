//! What hyper answers by itself, in the words of Envoy: [`Reworded`].
//!
//! To a head that it cannot read hyper says a bare status before any service is asked, and closes the connection. It
//! offers no say in that, so its answer is exchanged on the way out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::io::AsyncWrite;

use super::framing::Flaw;
use super::refused::Refused;

/// Where the status stands in an answer.
const STATUS: std::ops::Range<usize> = 9..12;

/// The answer that goes out in place of hyper's.
#[derive(Debug)]
pub(super) struct Reworded {
    text: Vec<u8>,
    sent: usize,
}

impl Reworded {
    /// In place of an answer that begins with `own`, to a head in which `flaw` was found.
    pub(super) fn new(own: &[u8], flaw: Option<Flaw>) -> Self {
        let status = own.get(STATUS).and_then(|status| StatusCode::from_bytes(status).ok());
        let Refused(status, words) = match (flaw, status) {
            (Some(flaw), _) => flaw.into(),
            (None, Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG)) => Refused::TOO_LARGE,
            (None, _) => Refused::BY_CODEC,
        };
        let reason = status.canonical_reason().unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} {reason}\r\ncontent-length: {}\r\ncontent-type: text/plain\r\nserver: istio-envoy\r\n",
            status.as_u16(),
            words.len()
        );
        let mut lines = own.split_inclusive(|byte| *byte == b'\n');
        let date = lines.find(|line| line.starts_with(b"date: ")).unwrap_or_default();
        let text = [head.as_bytes(), date, b"connection: close\r\n\r\n", words.as_bytes()].concat();
        Self { text, sent: 0 }
    }

    /// Writes all of it.
    pub(super) fn poll_write<IO>(&mut self, io: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        IO: AsyncWrite + Unpin,
    {
        while let Some(rest) = self.text.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(own: &str, flaw: Option<Flaw>) -> String {
        String::from_utf8(Reworded::new(own.as_bytes(), flaw).text).unwrap()
    }

    #[test]
    fn a_status_gets_words_and_keeps_its_date() {
        let own = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: today\r\n\r\n";
        let expected = "HTTP/1.1 400 Bad Request\r\ncontent-length: 11\r\ncontent-type: text/plain\r\n\
            server: istio-envoy\r\ndate: today\r\nconnection: close\r\n\r\nBad Request";
        assert_eq!(said(own, None), expected);
        assert_eq!(said("", None), expected.replace("date: today\r\n", ""));
    }

    #[test]
    fn what_was_found_in_a_head_decides() {
        for (own, flaw, status, words) in [
            ("HTTP/1.1 431 ", None, "431", "Request Header Fields Too Large"),
            ("HTTP/1.1 414 ", None, "431", "Request Header Fields Too Large"),
            ("HTTP/1.1 400 ", Some(Flaw::Version), "426", "Upgrade Required"),
            ("HTTP/1.1 400 ", Some(Flaw::Encoded), "501", "Not Implemented"),
        ] {
            let said = said(own, flaw);
            assert_eq!((&said[STATUS], said.rsplit('\n').next()), (status, Some(words)), "{own}");
        }
    }

    #[tokio::test]
    async fn it_goes_out_piece_by_piece() {
        let mut reworded = Reworded::new(b"", None);
        let text = reworded.text.clone();
        let mut io = tokio_test::io::Builder::new().write(&text[..7]).write(&text[7..]).build();
        std::future::poll_fn(|cx| reworded.poll_write(&mut io, cx)).await.unwrap();
    }
}
