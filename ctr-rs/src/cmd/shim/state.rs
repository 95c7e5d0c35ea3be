//! `shim state`.

use protos::shim::task_v3::{StateRequest, StateResponse};
use serde_json::{Map, Value, json};

use super::connect::Shim;
use crate::error::Result;
use crate::io::output;

/// Arguments of `shim state`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the container; the shim's own without it
    #[arg(long, short, value_name = "ID")]
    task_id: Option<String>,
}

/// Prints what the shim knows.
pub(super) async fn run(shim: &Shim, args: Args) -> Result<()> {
    let mut request = StateRequest::new();
    request.id = shim.container(args.task_id)?;
    let what = format!("cannot get the state of {}", request.id);
    output::json(&shown(&shim.call(&what, "State", &request).await?))
}

/// The answer's fields by their names, those that are empty left out.
fn shown(s: &StateResponse) -> Value {
    let time = s.exited_at.as_ref().map(|t| json!({"seconds": t.seconds, "nanos": t.nanos}));
    let all = [
        ("id", json!(s.id)),
        ("bundle", json!(s.bundle)),
        ("pid", json!(s.pid)),
        ("status", json!(s.status.value())),
        ("stdin", json!(s.stdin)),
        ("stdout", json!(s.stdout)),
        ("stderr", json!(s.stderr)),
        ("terminal", json!(s.terminal)),
        ("exit_status", json!(s.exit_status)),
        ("exited_at", json!(time)),
        ("exec_id", json!(s.exec_id)),
    ];
    let empty = [json!(""), json!(0), json!(false), Value::Null];
    let told = all.into_iter().filter(|(_, value)| !empty.contains(value));
    Value::Object(told.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn empty_fields_are_left_out() {
        let mut state = StateResponse::new();
        (state.id, state.pid) = ("a".into(), 7);
        state.status = protos::shim::types::Status::RUNNING.into();
        assert_eq!(shown(&state), json!({"id": "a", "pid": 7, "status": 2}));
    }
}
