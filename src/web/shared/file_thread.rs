//! One thread that makes long files. The threads that serve clients only pass the bytes on: ticks do not wait while a row group is encoded,
//! and the memory that encoding takes is taken once, not once a thread.

use crate::limits;
use actix_rt::Arbiter;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The thread. It ends with the last clone of this value.
#[derive(Clone)]
pub(crate) struct FileThread(Arc<RunningThread>);

struct RunningThread(Arbiter);

impl Drop for RunningThread {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// The thread ended before the file was complete.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the thread that makes files ended in the middle of one")]
pub(crate) struct FileThreadEnded;

impl FileThread {
    /// Starts the thread. Must be called where an actix system runs.
    pub(crate) fn start() -> Self {
        Self(Arc::new(RunningThread(Arbiter::new())))
    }

    /// Makes a file there: the bytes of the stream that `make` returns, in parts of a limited size. A file whose reader is slow waits.
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with its file or its client, and the reader notices an end that is too early"
    )]
    pub(crate) fn make_file<M, S, E>(&self, make: M) -> impl Stream<Item = Result<Bytes, E>> + use<M, S, E>
    where
        M: FnOnce() -> S + Send + 'static,
        S: Stream<Item = Result<Bytes, E>> + 'static,
        E: From<FileThreadEnded> + Send + 'static,
    {
        let (send, receive) = mpsc::channel(limits::FILE_PARTS);
        self.0.0.spawn_fn(move || {
            drop(actix_rt::spawn(async move {
                let mut bytes = pin!(make());
                while let Some(bytes) = bytes.next().await {
                    for part in parts(bytes) {
                        if send.send(Some(part)).await.is_err() {
                            return; // the client is gone
                        }
                    }
                }
                drop(send.send(None).await);
            }));
        });
        // Without the mark of its end a file is not complete, whatever ended the thread.
        stream::unfold(Some(receive), |receive| async {
            let mut receive = receive?;
            match receive.recv().await {
                Some(Some(part)) => Some((part, Some(receive))),
                Some(None) => None,
                None => Some((Err(FileThreadEnded.into()), None)),
            }
        })
    }
}

/// Bytes as parts of a limited size: the HTTP server copies each into a buffer of the connection, which keeps the size of the largest.
fn parts<E>(bytes: Result<Bytes, E>) -> impl Iterator<Item = Result<Bytes, E>> {
    let mut left = Some(bytes);
    std::iter::from_fn(move || match left.take()? {
        Ok(mut bytes) if bytes.len() > limits::FILE_PART => {
            let part = bytes.split_to(limits::FILE_PART);
            left = Some(Ok(bytes));
            Some(Ok(part))
        }
        last => Some(last),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn a_file_comes_in_parts_and_one_that_panics_is_not_complete() {
        let thread = FileThread::start();
        let bytes = Bytes::from(vec![7; limits::FILE_PART * 2 + 1]);
        let whole = bytes.clone();
        let file = thread.make_file(move || stream::iter([Ok::<_, FileThreadEnded>(bytes)]));
        let parts: Vec<Bytes> = file.map(Result::unwrap).collect().await;
        let lengths: Vec<usize> = parts.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [limits::FILE_PART, limits::FILE_PART, 1]);
        assert_eq!(parts.concat(), whole);
        let broken = thread.make_file(|| {
            stream::iter([1, 2]).map(|part| {
                assert_eq!(part, 1, "the second part cannot be made");
                Ok::<_, FileThreadEnded>(Bytes::from_static(b"first"))
            })
        });
        let parts: Vec<Result<Bytes, FileThreadEnded>> = broken.collect().await;
        assert!(matches!(parts.as_slice(), [Ok(_), Err(FileThreadEnded)]), "{parts:?}");
        // The thread goes on.
        let file = thread.make_file(|| stream::iter([Ok::<_, FileThreadEnded>(Bytes::from_static(b"next"))]));
        assert_eq!(file.count().await, 1);
    }
}
