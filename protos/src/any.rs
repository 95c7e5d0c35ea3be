//! Messages inside `google.protobuf.Any`.
//!
//! containerd writes the bare full name (`containerd.runc.v1.Options`) as type URL, without the `type.googleapis.com/`
//! that other programs put before it. We write it bare and read both.

/// Why the message in an `Any` could not be read.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The `Any` holds some other message.
    #[error("expected a {want}, got {got:?}")]
    WrongType {
        /// Full name of the message that was asked for.
        want: String,
        /// Type URL as received.
        got: String,
    },
    /// The bytes are not such a message.
    #[error("malformed {name}")]
    Malformed {
        /// Full name of the message.
        name: String,
        /// What the decoder said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The message's full name in a type URL: what follows the last slash, if there is one.
pub fn bare_name(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}

#[cfg(feature = "grpc")]
pub use grpc::Any;

#[cfg(feature = "grpc")]
mod grpc {
    use super::{UnpackError, bare_name};
    use bytes::Bytes;
    use prost::{Message, Name};

    /// `google.protobuf.Any` whose value shares the buffer it was read from.
    #[derive(Clone, PartialEq, Eq, Hash, Message)]
    pub struct Any {
        /// Full name of the message, or a URI that ends in it. Not always protobuf: OCI specs travel as JSON.
        #[prost(string, tag = "1")]
        pub type_url: String,
        /// The encoded message.
        #[prost(bytes = "bytes", tag = "2")]
        pub value: Bytes,
    }

    impl Any {
        /// Wraps a message under its bare full name.
        pub fn pack<M: Message + Name>(message: &M) -> Self {
            Self { type_url: M::full_name(), value: message.encode_to_vec().into() }
        }

        /// Whether the type URL names `M`.
        pub fn is<M: Name>(&self) -> bool {
            bare_name(&self.type_url) == M::full_name()
        }

        /// Reads the message out. Fails when the type URL names another one or the bytes do not parse.
        pub fn unpack<M: Message + Name + Default>(&self) -> Result<M, UnpackError> {
            if !self.is::<M>() {
                return Err(UnpackError::WrongType { want: M::full_name(), got: self.type_url.clone() });
            }
            M::decode(self.value.clone())
                .map_err(|e| UnpackError::Malformed { name: M::full_name(), source: Box::new(e) })
        }
    }

    impl Name for Any {
        const NAME: &'static str = "Any";
        const PACKAGE: &'static str = "google.protobuf";
    }
}
