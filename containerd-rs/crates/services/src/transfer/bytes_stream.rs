//! Bytes over a stream of messages, with a window that the receiving end opens.

use base::ErrorKind;
use bytes::Bytes;
use prost::Message;
use protos::api::Any;
use protos::api::types_transfer::{Data, WindowUpdate};
use tokio::sync::mpsc;
use tonic::Status;

use crate::status::refuse;
use crate::streams::StreamEnd;

/// Bytes of one message.
const CHUNK: usize = 32 << 10;
/// Bytes that may be under way.
const WINDOW: i64 = 2 * CHUNK as i64;

/// The bytes that a client sends; the channel ends when the client does.
pub(super) fn receive(stream: StreamEnd) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (send, receive) = mpsc::channel(2);
    tokio::spawn(async move {
        if let Err(error) = pump(stream, &send).await {
            // The reader that is gone needs no reason.
            let _ = send.send(Err(error)).await;
        }
    });
    receive
}

async fn pump(stream: StreamEnd, send: &mpsc::Sender<std::io::Result<Bytes>>) -> std::io::Result<()> {
    let StreamEnd { mut from_client, to_client } = stream;
    let mut open: i64 = 0;
    loop {
        if open < WINDOW {
            let update = WindowUpdate { update: i32::try_from(WINDOW).unwrap_or(i32::MAX) };
            // A client that is done does not take updates any more; what it sent is still to be read.
            if to_client.send(Any::pack(&update)).await.is_ok() {
                open += WINDOW;
            }
        }
        let Some(message) = from_client.recv().await else { return Ok(()) };
        if !message.is::<Data>() {
            tracing::warn!(r#type = message.type_url, "unexpected message in a byte stream");
            continue;
        }
        let data = Data::decode(&message.value[..]).map_err(std::io::Error::other)?.data;
        open -= i64::try_from(data.len()).unwrap_or(i64::MAX);
        if send.send(Ok(data)).await.is_err() {
            return Ok(());
        }
    }
}

/// Send all of `chunks`, as the client opens the window.
pub(super) async fn send(stream: StreamEnd, mut chunks: mpsc::Receiver<Bytes>) -> Result<(), Status> {
    let StreamEnd { mut from_client, to_client } = stream;
    let gone = || refuse(ErrorKind::Canceled, "the client closed its end of the stream");
    let mut open: i64 = 0;
    while let Some(mut chunk) = chunks.recv().await {
        while !chunk.is_empty() {
            while open <= 0 {
                let message = from_client.recv().await.ok_or_else(gone)?;
                open += window(&message);
            }
            while let Ok(message) = from_client.try_recv() {
                open += window(&message);
            }
            let size = chunk.len().min(CHUNK).min(usize::try_from(open).unwrap_or(CHUNK));
            let data = chunk.split_to(size);
            to_client.send(Any::pack(&Data { data })).await.map_err(|_| gone())?;
            open -= i64::try_from(size).unwrap_or(i64::MAX);
        }
    }
    Ok(())
}

fn window(message: &Any) -> i64 {
    if !message.is::<WindowUpdate>() {
        tracing::warn!(r#type = message.type_url, "unexpected message in a byte stream");
        return 0;
    }
    WindowUpdate::decode(&message.value[..]).map_or(0, |w| i64::from(w.update.max(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ends that are each other's client.
    fn pair() -> (StreamEnd, mpsc::Sender<Any>, mpsc::Receiver<Any>) {
        let (to_daemon, from_client) = mpsc::channel(16);
        let (to_client, from_daemon) = mpsc::channel(16);
        (StreamEnd { from_client, to_client }, to_daemon, from_daemon)
    }

    #[tokio::test]
    async fn bytes_come_whole_and_the_window_is_kept() {
        let (end, to_daemon, mut from_daemon) = pair();
        let (chunks, receiver) = mpsc::channel(4);
        let sending = tokio::spawn(send(end, receiver));
        let all: Vec<u8> = (0..300_000_u32).map(|i| i as u8).collect();
        let source = all.clone();
        tokio::spawn(async move {
            for part in source.chunks(70_000) {
                chunks.send(Bytes::copy_from_slice(part)).await.unwrap();
            }
        });
        let mut got = Vec::new();
        let mut granted = 0;
        while got.len() < all.len() {
            if granted == got.len() {
                to_daemon.send(Any::pack(&WindowUpdate { update: 50_000 })).await.unwrap();
                granted += 50_000;
            }
            let data: Data = from_daemon.recv().await.unwrap().unpack().unwrap();
            got.extend_from_slice(&data.data);
            assert!(got.len() <= granted, "sent beyond the window");
        }
        assert_eq!(got, all);
        sending.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_a_client_sends_is_received_in_order() {
        let (end, to_daemon, mut from_daemon) = pair();
        let mut chunks = receive(end);
        let first: WindowUpdate = from_daemon.recv().await.unwrap().unpack().unwrap();
        assert_eq!(first.update, 65536);
        for part in [&b"ab"[..], b"cd"] {
            to_daemon.send(Any::pack(&Data { data: Bytes::from_static(part) })).await.unwrap();
        }
        drop(to_daemon);
        let mut got = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            got.extend_from_slice(&chunk.unwrap());
        }
        assert_eq!(got, b"abcd");
    }

    #[tokio::test]
    async fn a_client_that_goes_ends_the_sending() {
        let (end, to_daemon, from_daemon) = pair();
        let (chunks, receiver) = mpsc::channel(4);
        chunks.send(Bytes::from_static(b"x")).await.unwrap();
        drop((to_daemon, from_daemon));
        assert_eq!(send(end, receiver).await.unwrap_err().code(), tonic::Code::Cancelled);
    }
}
