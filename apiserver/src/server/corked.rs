//! Output that is held back until a connection has said all that it has to say in its turn.
//!
//! HTTP/2 flushes after each frame of data. On a connection with many watches that is a TLS record and a system call
//! for each event of each watch, on both sides. Here a flush only notes that there is something, and it is sent when
//! the runtime has run what was ready: when one event has woken a hundred watches, all of them write before the
//! connection sends.

use std::error::Error;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::{Buf as _, BytesMut};
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is held back at most before it is written in the middle of a turn.
const HELD_BYTES_MAX: usize = 128 * 1024;

/// The first allocation of what is held back: one full TLS record.
const HELD_BYTES_MIN: usize = 16 * 1024;

struct Held<S> {
    stream: S,
    bytes: BytesMut,
}

impl<S: AsyncWrite + Unpin> Held<S> {
    /// Gives the stream all that is held back.
    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.bytes.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes.advance(written);
        }
        // An idle connection holds no memory.
        self.bytes = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes.reserve(bytes.len().max(HELD_BYTES_MIN));
        }
        self.bytes.extend_from_slice(bytes);
    }
}

/// The stream that a connection is given. It must be driven by [`Driven`].
pub struct Corked<S> {
    held: Arc<Mutex<Held<S>>>,
}

/// A connection whose output is sent when the tasks that were ready beside it have run.
pub struct Driven<C, S> {
    connection: C,
    held: Arc<Mutex<Held<S>>>,
    others: Arc<Others>,
    /// Whether the others are having their turns.
    waits: bool,
}

impl<S: AsyncWrite + Unpin> Corked<S> {
    /// Holds back what is written to `stream`.
    pub fn new(stream: S) -> Self {
        Self { held: Arc::new(Mutex::new(Held { stream, bytes: BytesMut::new() })) }
    }

    /// Sends what the connection that `connect` makes over this stream has written.
    pub fn drive<C>(self, connect: impl FnOnce(Self) -> C) -> Driven<C, S> {
        let held = self.held.clone();
        Driven { connection: connect(self), held, others: Arc::default(), waits: false }
    }
}

/// Woken when the other ready tasks have had their turns.
#[derive(Default)]
struct Others {
    done: AtomicBool,
    connection: AtomicWaker,
}

impl Others {
    /// Asks to be woken. The connection may be polled before: whoever writes to it wakes it too.
    fn await_turns(self: &Arc<Self>, context: &Context<'_>) {
        self.done.store(false, Ordering::Release);
        self.connection.register(context.waker());
        let waker = Waker::from(self.clone());
        // The runtime keeps the waker until its queue is empty or it looks for input, whichever is first.
        let ready = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
        debug_assert!(ready.is_pending());
    }
}

impl Wake for Others {
    fn wake(self: Arc<Self>) {
        self.done.store(true, Ordering::Release);
        self.connection.wake();
    }
}

impl<C, S> Future for Driven<C, S>
where
    C: Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Unpin,
    S: AsyncWrite + Unpin,
{
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // The end of a connection shuts the stream down, which sends the rest.
        if let Poll::Ready(end) = Pin::new(&mut this.connection).poll(context) {
            return Poll::Ready(end);
        }
        let mut held = this.held.lock();
        if !this.waits && held.bytes.is_empty() {
            // What the stream itself has not got rid of yet, if anything.
            return match Pin::new(&mut held.stream).poll_flush(context) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            };
        }
        if !this.waits {
            this.waits = true;
            this.others.await_turns(context);
        }
        if !this.others.done.load(Ordering::Acquire) && held.bytes.len() < HELD_BYTES_MAX {
            this.others.connection.register(context.waker());
            return Poll::Pending;
        }
        match held.poll_send(context) {
            Poll::Ready(sent) => {
                this.waits = false;
                sent.map_or_else(|error| Poll::Ready(Err(error.into())), |()| Poll::Pending)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.held.lock().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut held = self.held.lock();
        if held.bytes.len() >= HELD_BYTES_MAX {
            ready!(held.poll_write_out(context))?;
        }
        slices.iter().for_each(|slice| held.hold(slice));
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.held.lock();
        ready!(held.poll_send(context))?;
        Pin::new(&mut held.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A connection that writes and flushes three chunks, then waits for input and ends.
    async fn speak(
        mut stream: Corked<tokio::io::DuplexStream>,
        chunk: usize,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        for _ in 0..3 {
            stream.write_all(&vec![b'x'; chunk]).await?;
            stream.flush().await?;
        }
        stream.read_u8().await?;
        stream.shutdown().await?;
        Ok(())
    }

    #[tokio::test]
    async fn what_is_written_goes_in_one_piece_and_without_waiting_for_more() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let connection = tokio::spawn(Corked::new(near).drive(|stream| Box::pin(speak(stream, 10))));
        let mut received = [0; 64];
        assert_eq!(far.read(&mut received).await.unwrap(), 30);
        far.write_u8(1).await.unwrap();
        connection.await.unwrap().unwrap();
        assert_eq!(far.read(&mut received).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn all_that_is_ready_writes_before_anything_is_sent() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<u8>(100);
        // As watches do: each has its task, and the connection gathers what they give it.
        let connect = |mut stream: Corked<tokio::io::DuplexStream>| {
            Box::pin(async move {
                while let Some(byte) = receiver.recv().await {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                }
                stream.shutdown().await?;
                Ok(())
            })
        };
        let connection = tokio::spawn(Corked::new(near).drive(connect));
        for byte in 0..50 {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(byte).await });
        }
        drop(sender);
        let mut received = [0; 64];
        assert_eq!(far.read(&mut received).await.unwrap(), 50);
        connection.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_slow_reader_holds_up_and_loses_nothing() {
        let (near, mut far) = tokio::io::duplex(1000);
        let chunk = HELD_BYTES_MAX + 1;
        let turns = Corked::new(near).drive(|stream| Box::pin(speak(stream, chunk)));
        let read = async {
            let mut received = vec![0; 3 * chunk];
            far.read_exact(&mut received).await.unwrap();
            far.write_u8(1).await.unwrap();
            received.len()
        };
        let (end, received) = tokio::join!(turns, read);
        end.unwrap();
        assert_eq!(received, 3 * chunk);
    }

    #[tokio::test]
    async fn a_broken_stream_ends_the_connection() {
        let (near, far) = tokio::io::duplex(1000);
        drop(far);
        assert!(Corked::new(near).drive(|stream| Box::pin(speak(stream, 10))).await.is_err());
    }
}
