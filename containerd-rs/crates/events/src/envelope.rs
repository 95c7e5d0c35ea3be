//! One event on its way, and how filters look at it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use base::Any;
use base::filter::Fields;

/// Reads one field of an encoded event for `event.<field>` filters: the event and the path below `event` in,
/// the field's text out, `None` when the type or the field is unknown.
pub type Decoder = Arc<dyn Fn(&Any, &[&str]) -> Option<String> + Send + Sync>;

/// An event with its place and time (`containerd.types.Envelope`).
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// When it happened. [`SystemTime::UNIX_EPOCH`] stands for "not set".
    pub timestamp: SystemTime,
    /// The namespace it happened in.
    pub namespace: String,
    /// Its topic, for example `/tasks/exit`.
    pub topic: String,
    /// The encoded event.
    pub event: Any,
}

impl Envelope {
    /// About how many bytes a queued reference to this envelope stands for.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>()
            + self.namespace.len()
            + self.topic.len()
            + self.event.type_url.len()
            + self.event.value.len()
    }
}

/// An envelope as filters see it: `namespace`, `topic`, `event.<field>`.
pub(crate) struct Filterable<'a> {
    pub(crate) envelope: &'a Envelope,
    pub(crate) decoder: &'a Decoder,
}

impl Fields for Filterable<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["namespace"] if !self.envelope.namespace.is_empty() => {
                Some(Cow::Borrowed(&self.envelope.namespace))
            }
            ["topic"] if !self.envelope.topic.is_empty() => Some(Cow::Borrowed(&self.envelope.topic)),
            ["event", rest @ ..] if !rest.is_empty() => {
                (self.decoder)(&self.envelope.event, rest).map(Cow::Owned)
            }
            _ => None,
        }
    }
}
