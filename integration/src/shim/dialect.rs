//! How daemons of different ages tell a shim what to start, and what they take for an answer.

use anyhow::{Context, bail};
use protobuf::Message;
use protos::shim::Any;
use protos::shim::bootstrap::{BootstrapParams, BootstrapResult, Extension};

/// The generations of daemons that a shim meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// 2.3 and later: `BootstrapParams` on standard input, `BootstrapResult` on standard output.
    Params,
    /// 1.7 to 2.2: runtime options on standard input, `MAX_SHIM_VERSION` in the environment, JSON out.
    Json,
    /// 1.6 and earlier: runtime options on standard input, a bare address out.
    Address,
}

/// What `start` printed, whatever the dialect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The form in which it came.
    pub dialect: Dialect,
    /// Version of the Task service that the shim offers.
    pub version: i32,
    /// Where it listens, as a URI.
    pub address: String,
    /// `ttrpc` or `grpc`.
    pub protocol: String,
}

impl Dialect {
    /// Standard input of `start`.
    ///
    /// # Errors
    /// Options that cannot be encoded.
    pub fn stdin(self, mut params: BootstrapParams, options: Option<&Any>) -> anyhow::Result<Vec<u8>> {
        match (self, options) {
            (Dialect::Params, options) => {
                if let Some(options) = options {
                    let mut extension = Extension::new();
                    extension.value = Some(options.clone()).into();
                    params.extensions.push(extension);
                }
                Ok(params.write_to_bytes()?)
            }
            (_, Some(options)) => Ok(options.write_to_bytes()?),
            (_, None) => Ok(Vec::new()),
        }
    }
}

impl Answer {
    /// Reads what `start` printed, in the order in which daemons try: protobuf, JSON, address.
    ///
    /// # Errors
    /// It is none of them.
    pub fn read(bytes: &[u8]) -> anyhow::Result<Answer> {
        if let Ok(result) = BootstrapResult::parse_from_bytes(bytes)
            && !result.address.is_empty()
        {
            return Ok(Answer {
                dialect: Dialect::Params,
                version: result.version,
                address: result.address,
                protocol: result.protocol,
            });
        }
        if let Some(answer) = Answer::from_json(bytes) {
            return Ok(answer);
        }
        let text = std::str::from_utf8(bytes).context("the shim's answer is neither a message nor text")?;
        let address = text.trim();
        if !address.contains("://") {
            bail!("the shim's answer is no address: {text:?}");
        }
        Ok(Answer {
            dialect: Dialect::Address,
            version: 2,
            address: address.to_owned(),
            protocol: "ttrpc".to_owned(),
        })
    }

    /// Reads `{"version":2,"address":"unix:///...","protocol":"ttrpc"}`, as `bootstrap.json` in a bundle holds it too.
    pub fn from_json(bytes: &[u8]) -> Option<Answer> {
        let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        Some(Answer {
            dialect: Dialect::Json,
            version: i32::try_from(value.get("version")?.as_i64()?).ok()?,
            address: value.get("address")?.as_str()?.to_owned(),
            protocol: value.get("protocol")?.as_str()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_dialect_is_read() {
        let mut result = BootstrapResult::new();
        (result.version, result.address, result.protocol) = (3, "unix:///a".into(), "ttrpc".into());
        let read = |bytes: &[u8]| Answer::read(bytes).map(|a| (a.dialect, a.version, a.address));
        assert_eq!(
            read(&result.write_to_bytes().unwrap()).unwrap(),
            (Dialect::Params, 3, "unix:///a".to_owned())
        );
        let json = br#"{"version":2,"address":"unix:///b","protocol":"ttrpc"}"#;
        assert_eq!(read(json).unwrap(), (Dialect::Json, 2, "unix:///b".to_owned()));
        assert_eq!(read(b"unix:///c\n").unwrap(), (Dialect::Address, 2, "unix:///c".to_owned()));
        for bad in [&b""[..], b"{}", b"some words", b"\xff\xfe"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn options_travel_in_every_dialect() {
        let options = Any { type_url: "t".into(), value: vec![1], ..Any::default() };
        let stdin = |d: Dialect, o| d.stdin(BootstrapParams::new(), o).unwrap();
        assert_eq!(Any::parse_from_bytes(&stdin(Dialect::Json, Some(&options))).unwrap(), options);
        assert!(stdin(Dialect::Address, None).is_empty());
        let params = BootstrapParams::parse_from_bytes(&stdin(Dialect::Params, Some(&options))).unwrap();
        assert_eq!(params.extensions[0].value.as_ref(), Some(&options));
    }
}
