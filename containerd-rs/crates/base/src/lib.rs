//! The words every other crate speaks: error kinds, ids, digests, labels, OCI shapes, platforms,
//! image references, filters, users.
//!
//! It does no I/O, spawns nothing, holds no state, and knows nothing of wire types. The shim links
//! it too, so anything heavy stays behind the `filters` feature.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod any;
pub mod defaults;
pub mod digest;
pub mod error;
#[cfg(feature = "filters")]
pub mod filter;
pub mod ids;
pub mod labels;
pub mod mask;
pub mod mount;
pub mod oci;
pub mod platform;
pub mod reference;
pub mod scope;
pub mod timestamp;
pub mod topic;
pub mod user;

pub use any::Any;
pub use digest::{Algorithm, Digest, Hasher};
pub use error::{Error, ErrorKind, Kinded, chain};
#[cfg(feature = "filters")]
pub use filter::{Fields, FilterError, FilterSet};
pub use ids::{ContainerId, ExecId, LeaseId, Namespace, SandboxId, validate_identifier};
pub use labels::Labels;
pub use mount::Mount;
pub use oci::Descriptor;
pub use platform::{Matcher, Platform};
pub use reference::Reference;
pub use scope::Scope;

/// Property tests run the same cases every time and leave no files.
#[cfg(test)]
pub(crate) fn seeded() -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x00c0_ffee),
        failure_persistence: None,
        cases: 512,
        ..proptest::test_runner::Config::default()
    }
}
