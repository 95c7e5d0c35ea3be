//! Counts what is done, for the tests that show that work is linear in the archive. Nothing in a build without tests.

#[cfg(test)]
thread_local! {
    static TAKEN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// One look at one object.
pub(super) fn step() {
    #[cfg(test)]
    TAKEN.with(|taken| taken.set(taken.get() + 1));
}

/// Steps of this thread so far.
#[cfg(test)]
pub(super) fn taken() -> u64 {
    TAKEN.with(std::cell::Cell::get)
}
