//! Between the daemon's own types and the shim protocol's messages.

use std::time::{Duration, SystemTime};

use base::{Any, Mount};
use protobuf::well_known_types::any::Any as WireAny;
use protobuf::well_known_types::timestamp::Timestamp;
use protos::shim::types::Mount as WireMount;
use protos::shim::types::Status as WireStatus;

use crate::model::Status;

pub(crate) fn any(any: &Any) -> WireAny {
    WireAny { type_url: any.type_url.clone(), value: any.value.to_vec(), ..WireAny::default() }
}

pub(crate) fn from_any(any: WireAny) -> Any {
    Any { type_url: any.type_url, value: any.value.into() }
}

pub(crate) fn mount(mount: &Mount) -> WireMount {
    WireMount {
        type_: mount.fstype.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
        ..WireMount::default()
    }
}

/// A timestamp as a time; `None` when absent, the epoch's zero value, or out of range.
pub(crate) fn time(stamp: Option<&Timestamp>) -> Option<SystemTime> {
    let stamp = stamp?;
    let nanos = u32::try_from(stamp.nanos).ok().filter(|n| *n < 1_000_000_000)?;
    let seconds = u64::try_from(stamp.seconds).ok().filter(|s| *s > 0)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
        ..Timestamp::default()
    }
}

pub(crate) fn status(status: protobuf::EnumOrUnknown<WireStatus>) -> Status {
    match status.enum_value_or_default() {
        WireStatus::UNKNOWN => Status::Unknown,
        WireStatus::CREATED => Status::Created,
        WireStatus::RUNNING => Status::Running,
        WireStatus::STOPPED => Status::Stopped,
        WireStatus::PAUSED => Status::Paused,
        WireStatus::PAUSING => Status::Pausing,
    }
}
