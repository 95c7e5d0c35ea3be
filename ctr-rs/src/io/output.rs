//! Printing results on standard output, and warnings on standard error.

use std::io::{self, Write};

use crate::error::{Error, Result};

/// Writes text to standard output.
pub fn write(text: &str) -> Result<()> {
    bytes(text.as_bytes())
}

/// Writes one line to standard output.
pub fn line(text: impl AsRef<str>) -> Result<()> {
    let mut whole = text.as_ref().to_owned();
    whole.push('\n');
    write(&whole)
}

/// Writes bytes to standard output.
pub fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::io("cannot write to standard output"))
}

/// Writes a value as indented JSON, a key per line.
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    let what = || Error::invalid("the answer cannot be written as JSON");
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, format);
    value.serialize(&mut writer).map_err(|_| what())?;
    text.push(b'\n');
    bytes(&text)
}

/// One line on standard error that does not end the command. Nobody may be there to read it.
pub fn warn(text: impl AsRef<str>) {
    let _nobody_reads = writeln!(io::stderr().lock(), "ctr-rs: {}", text.as_ref());
}

/// The same for an error that was dealt with.
pub fn warn_error(error: &Error) {
    warn(base::chain(error));
}

/// A line of progress on standard error. Nobody may be there to read it.
pub fn note(text: &str) {
    let _nobody_reads = writeln!(io::stderr().lock(), "{text}");
}

/// A question on standard error, without an end of line.
pub fn prompt(text: &str) {
    let mut err = io::stderr().lock();
    let _nobody_reads = write!(err, "{text}").and_then(|()| err.flush());
}
