//! The driver of any shim, pointed at the one that these tests were built with.
#![allow(unused_imports)] // each test file uses its own part

pub use integration::shim::*;

/// The shim under test: ours, or the one that `SHIM_UNDER_TEST` names (the static build; another implementation).
pub fn shim() -> String {
    std::env::var("SHIM_UNDER_TEST")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_containerd-shim-runc-v2").to_owned())
}

/// `Place::new()`: a place for [`shim`].
#[allow(dead_code)] // not every test file makes one so
pub trait OfOurs {
    /// See the trait.
    #[allow(async_fn_in_trait)]
    async fn new() -> Self;
}

impl OfOurs for Place {
    async fn new() -> Place {
        Place::of(shim()).await
    }
}
