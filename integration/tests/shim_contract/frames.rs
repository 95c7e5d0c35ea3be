//! Bytes that no good client sends.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use integration::shim::Task;

use crate::stage::{Stage, all, said};

const LIBRARY: &str = "the ttrpc library answers for services that are not there";
const CALLER: &str = "a message that cannot be read is the caller's mistake";
const NAMES: &str = "a name is checked before anything is done with it";

const LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn odd_requests(stage: &mut Stage) {
    let bundle = stage.bundle("odd", &["true"]);
    let (_, task) = stage.shim(&bundle).await;
    let service = stage.version.service();
    let ask = async |service: &str, method: &str, bytes: &[u8]| {
        said(&task.raw(service, method, bytes, LIMIT).await)
    };
    stage.check("a method that nobody knows", ask(service, "Nonsense", b"").await, all("Unimplemented: *"));
    stage.check(
        "a service that nobody knows",
        ask("some.where.Else", "State", b"").await,
        all("Unimplemented: *").ours("InvalidArgument: *", LIBRARY),
    );
    stage.check(
        "no service",
        ask("", "State", b"").await,
        all("Unimplemented: *").ours("InvalidArgument: *", LIBRARY),
    );
    stage.check("no method", ask(service, "", b"").await, all("Unimplemented: *"));
    stage.check(
        "a message that does not parse",
        ask(service, "State", &[0xff; 3]).await,
        all("Internal: ttrpc: error unmarshalling payload: *")
            .ours("InvalidArgument: unpack request: *", CALLER),
    );
    stage.check(
        "an empty message",
        ask(service, "State", b"").await,
        all("NotFound: container not created: not found"),
    );
    // Field 200, which no version has.
    stage.check("a field of the future", ask(service, "Connect", &[0xc2, 0x0c, 1, 65]).await, all("ok"));
    stage.check(
        "an empty create",
        ask(service, "Create", b"").await,
        all("Unknown: *container id cannot be empty").ours(
            "InvalidArgument: invalid container id: identifier must not be empty: invalid argument",
            NAMES,
        ),
    );
    let long = vec![b'x'; 1 << 20];
    let got = said(&task.state(&String::from_utf8(long).unwrap(), "").await);
    stage.check("an id of a megabyte", got, all("NotFound: container not created: not found"));
    stage.check("and all is well", said(&task.connect("odd").await), all("ok"));
    let _ = task.shutdown("odd").await;
}

fn frame(stream: u32, kind: u8, body: &[u8], length: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(length.to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend([kind, 0]);
    bytes.extend(body);
    bytes
}

/// Sends `bytes` on a connection of its own, and reads what comes: an answer, or the end.
fn send(address: &str, bytes: &[u8]) -> String {
    let mut socket = connect(address);
    if let Err(e) = socket.write_all(bytes) {
        return format!("closed while it was sent ({:?})", e.kind());
    }
    first(&mut socket)
}

fn connect(address: &str) -> UnixStream {
    let socket = UnixStream::connect(address.trim_start_matches("unix://")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

fn first(socket: &mut UnixStream) -> String {
    match socket.read(&mut [0; 4096]) {
        Ok(1..) => "answered".to_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => "silent".to_owned(),
        _ => "ended".to_owned(),
    }
}

pub(crate) async fn broken_frames(stage: &mut Stage) {
    let bundle = stage.bundle("noise", &["true"]);
    let (address, task) = stage.shim(&bundle).await;
    let got = send(&address, &frame(1, 1, &[0xff; 32], 32));
    stage.check("a request that does not parse", got, all("answered"));
    let mut big = frame(1, 1, &[], 5 << 20);
    big.resize(big.len() + (5 << 20), b'x');
    let got = send(&address, &big);
    stage.check("a frame of five megabytes", got, all("answered"));
    for (case, bytes) in [
        ("a frame that claims four gigabytes", frame(1, 1, &[], u32::MAX)),
        ("a kind of frame that nobody knows", frame(1, 9, &[1, 2, 3], 3)),
        ("another protocol", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("half a header", vec![0, 0, 0]),
    ] {
        // Held open: what waits for the rest of it must hold up nobody.
        let mut socket = connect(&address);
        let _ = socket.write_all(&bytes);
        let other = Task::dial(&address, stage.version).await.unwrap();
        stage.check(case, said(&other.connect("noise").await), all("ok"));
        drop(socket);
    }
    let got = send(&address, &frame(2, 1, &[], 0));
    stage.check("a stream with an even number", got, all("answered"));
    stage.check("the others' connection", said(&task.connect("noise").await), all("ok"));
    let other = Task::dial(&address, stage.version).await.unwrap();
    stage.check("a new connection", said(&other.connect("noise").await), all("ok"));
    let _ = task.shutdown("noise").await;
}
