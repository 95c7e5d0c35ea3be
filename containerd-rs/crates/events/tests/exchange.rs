//! What publishers and subscribers can rely on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use base::filter::FilterSet;
use base::{Any, ErrorKind, Kinded, Namespace};
use events::{Envelope, Exchange, Gate, Lagged, QUEUE_BYTES};

fn exchange() -> Exchange {
    Exchange::new(Arc::new(|event: &Any, path: &[&str]| {
        (path == ["id"]).then(|| String::from_utf8_lossy(&event.value).into_owned())
    }))
}

fn event(id: &str) -> Any {
    Any { type_url: "test.Event".into(), value: id.to_owned().into_bytes().into() }
}

fn envelope(topic: &str) -> Envelope {
    Envelope {
        timestamp: SystemTime::UNIX_EPOCH + Duration::from_secs(7),
        namespace: "default".into(),
        topic: topic.into(),
        event: event("x"),
    }
}

fn filters(texts: &[&str]) -> FilterSet {
    FilterSet::parse(texts).unwrap()
}

fn ns(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

#[tokio::test]
async fn every_subscriber_gets_what_its_filters_let_through_in_order() {
    let exchange = exchange();
    let mut all = exchange.subscribe(filters(&[]));
    let mut exits = exchange.subscribe(filters(&["topic==\"/tasks/exit\",namespace==a"]));
    let mut by_id = exchange.subscribe(filters(&["event.id==three"]));
    for (namespace, topic, id) in
        [("a", "/tasks/start", "one"), ("a", "/tasks/exit", "two"), ("b", "/tasks/exit", "three")]
    {
        exchange.publish(&ns(namespace), topic, event(id)).unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        let got = all.recv().await.unwrap().unwrap();
        assert!(got.timestamp > SystemTime::UNIX_EPOCH);
        seen.push(String::from_utf8(got.event.value.to_vec()).unwrap());
    }
    assert_eq!(seen, ["one", "two", "three"]);
    assert_eq!(exits.recv().await.unwrap().unwrap().event, event("two"));
    assert!(exits.try_recv().is_none());
    assert_eq!(by_id.recv().await.unwrap().unwrap().namespace, "b");
    assert!(by_id.try_recv().is_none());
}

#[tokio::test]
async fn a_waiting_reader_is_woken() {
    let exchange = exchange();
    let mut subscription = exchange.subscribe(filters(&[]));
    let reader = tokio::spawn(async move { subscription.recv().await.unwrap().unwrap() });
    tokio::task::yield_now().await;
    exchange.forward(envelope("/tasks/oom")).unwrap();
    assert_eq!(*reader.await.unwrap(), envelope("/tasks/oom"));
}

#[test]
fn bad_events_are_refused_and_reach_nobody() {
    let exchange = exchange();
    let mut subscription = exchange.subscribe(filters(&[]));
    for topic in ["", "/", "tasks/exit", "/tasks//exit", "/tasks/-"] {
        let refused = exchange.publish(&ns("a"), topic, event("x")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{topic:?}");
        exchange.forward(envelope(topic)).unwrap_err();
    }
    let mut untimed = envelope("/tasks/exit");
    untimed.timestamp = SystemTime::UNIX_EPOCH;
    assert_eq!(
        exchange.forward(untimed).unwrap_err().to_string(),
        "timestamp must be set on forwarded event"
    );
    let mut nowhere = envelope("/tasks/exit");
    nowhere.namespace = String::new();
    assert!(
        base::chain(&exchange.forward(nowhere).unwrap_err()).contains("event envelope has invalid namespace")
    );
    assert!(subscription.try_recv().is_none());
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_lost_and_holds_nobody_up() {
    let exchange = exchange();
    let mut slow = exchange.subscribe(filters(&[]));
    let mut quick = exchange.subscribe(filters(&[]));
    let big = Any { type_url: "test.Big".into(), value: vec![0; QUEUE_BYTES / 4].into() };
    for _ in 0..6 {
        exchange.publish(&ns("a"), "/test/big", big.clone()).unwrap();
        quick.recv().await.unwrap().unwrap();
    }
    assert_eq!(slow.recv().await, Some(Err(Lagged { missed: 6 })));
    assert_eq!(slow.recv().await, None);
}

#[test]
fn a_gate_decides_for_published_and_forwarded_events_alike() {
    struct Once(AtomicUsize);
    impl Gate for Once {
        fn admit(&self, envelope: &Envelope) -> bool {
            envelope.topic != "/tasks/exit" || self.0.fetch_add(1, Ordering::SeqCst) == 0
        }
    }
    let exchange = exchange();
    exchange.add_gate(Arc::new(Once(AtomicUsize::new(0))));
    let mut subscription = exchange.subscribe(filters(&[]));
    exchange.forward(envelope("/tasks/exit")).unwrap();
    exchange.publish(&ns("a"), "/tasks/exit", event("again")).unwrap();
    exchange.forward(envelope("/tasks/delete")).unwrap();
    assert_eq!(subscription.try_recv().unwrap().topic, "/tasks/exit");
    assert_eq!(subscription.try_recv().unwrap().topic, "/tasks/delete");
    assert!(subscription.try_recv().is_none());
}

#[test]
fn a_dropped_subscription_costs_nothing_more() {
    let exchange = exchange();
    let first = exchange.subscribe(filters(&[]));
    let second = exchange.subscribe(filters(&["topic==\"/tasks/exit\""]));
    assert_eq!(exchange.subscribers(), 2);
    drop(first);
    assert_eq!(exchange.subscribers(), 1);
    drop(second);
    assert_eq!(exchange.subscribers(), 0);
    exchange.forward(envelope("/tasks/exit")).unwrap();
}
