//! Standard streams of a process: FIFOs that its shim reads and writes, threads that copy between them and ours, the terminal.

pub mod copy;
pub mod fifo;
pub mod output;
pub mod terminal;
