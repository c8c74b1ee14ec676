//! Small vectored writes as plain ones.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// How many bytes are joined at most.
const SMALL: usize = 1024;

/// Writes as [`AsyncWrite::poll_write_vectored`] does; a head and a small body in one plain write, which costs the
/// kernel less than the copy costs here.
pub(crate) fn poll_write_joined<IO: AsyncWrite + Unpin>(
    io: &mut IO,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [slice] = slices {
        return Pin::new(io).poll_write(cx, slice);
    }
    if slices.iter().map(|slice| slice.len()).sum::<usize>() > SMALL {
        return Pin::new(io).poll_write_vectored(cx, slices);
    }
    let mut joined = [0; SMALL];
    let mut length = 0;
    for slice in slices {
        joined[length..length + slice.len()].copy_from_slice(slice);
        length += slice.len();
    }
    Pin::new(io).poll_write(cx, &joined[..length])
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_the_same() {
        let (mut near, mut far) = duplex(1 << 16);
        let (long, short) = (vec![b'x'; SMALL], b"head".to_vec());
        let mut expected = Vec::new();
        for pieces in [vec![&short], vec![&short, &short], vec![&short, &long], vec![&long], vec![]] {
            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let written = poll_fn(|cx| poll_write_joined(&mut near, cx, &slices)).await.unwrap();
            let whole = pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<u8>>();
            expected.extend_from_slice(&whole[..written]);
            // Nothing but what is too long to be joined may be cut.
            assert!(written == whole.len() || whole.len() > SMALL);
        }
        drop(near);
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, expected);
    }
}
