//! `google.protobuf.Any` for rust-protobuf messages.

use crate::any::{UnpackError, bare_name};
use protobuf::Message;
use protobuf::well_known_types::any::Any;

/// The full protobuf name of a message (`containerd.events.TaskExit`). Made by the build for every top-level message.
pub trait FullName {
    /// Package and name, dot between.
    const FULL_NAME: &'static str;
}

/// Wraps a message under its bare full name.
pub fn pack<M: Message + FullName>(message: &M) -> Result<Any, protobuf::Error> {
    Ok(Any { type_url: M::FULL_NAME.to_owned(), value: message.write_to_bytes()?, ..Any::default() })
}

/// Whether the type URL names `M`.
pub fn is<M: FullName>(any: &Any) -> bool {
    bare_name(&any.type_url) == M::FULL_NAME
}

/// Reads the message out. Fails when the type URL names another one or the bytes do not parse.
pub fn unpack<M: Message + FullName>(any: &Any) -> Result<M, UnpackError> {
    if !is::<M>(any) {
        return Err(UnpackError::WrongType { want: M::FULL_NAME.to_owned(), got: any.type_url.clone() });
    }
    M::parse_from_bytes(&any.value)
        .map_err(|e| UnpackError::Malformed { name: M::FULL_NAME.to_owned(), source: Box::new(e) })
}
