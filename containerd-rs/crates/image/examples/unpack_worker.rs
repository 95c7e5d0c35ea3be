//! The worker as a program of its own, for this crate's tests: in the daemon it is a subcommand.

fn main() {
    snapshot::worker::main()
}
