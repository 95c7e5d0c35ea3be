//! The ttrpc wire: a ten byte header (payload length, stream id, kind, flags; big endian), then the payload.

/// Bytes of a header.
pub(crate) const HEADER: usize = 10;
/// The largest payload that either side of ttrpc accepts.
pub(crate) const MAX_PAYLOAD: usize = 4 << 20;

const KIND_REQUEST: u8 = 1;
const KIND_RESPONSE: u8 = 2;
const KIND_DATA: u8 = 3;

/// What a parsed frame is to a client that makes unary calls only.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// The answer to the request of that stream.
    Response { stream: u32, payload: &'a [u8] },
    /// Part of a stream that this client never opens.
    Other,
}

/// The peer does not speak ttrpc.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("frame of {0} bytes is larger than {MAX_PAYLOAD}")]
    TooLarge(usize),
    #[error("frame of unknown kind {0}")]
    Kind(u8),
}

/// A request frame with its stream id still to be filled in by [`set_stream`].
pub(crate) fn request(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 0, KIND_REQUEST, 0]);
    frame.extend_from_slice(payload);
    frame
}

/// Writes the stream id into a frame made by [`request`].
pub(crate) fn set_stream(frame: &mut [u8], stream: u32) {
    if let Some(place) = frame.get_mut(4..8) {
        place.copy_from_slice(&stream.to_be_bytes());
    }
}

/// The first whole frame of `input` and the number of bytes it takes; `None` while it is incomplete.
pub(crate) fn parse(input: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((header, rest)) = input.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let [a, b, c, d, e, f, g, h, kind, _flags] = *header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > MAX_PAYLOAD {
        return Err(FrameError::TooLarge(length));
    }
    if kind != KIND_RESPONSE && kind != KIND_DATA {
        return Err(FrameError::Kind(kind));
    }
    let Some(payload) = rest.get(..length) else {
        return Ok(None);
    };
    let frame = match kind {
        KIND_RESPONSE => Frame::Response { stream: u32::from_be_bytes([e, f, g, h]), payload },
        _ => Frame::Other,
    };
    Ok(Some((frame, HEADER + length)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn response(stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = request(payload);
        set_stream(&mut frame, stream);
        frame[8] = KIND_RESPONSE;
        frame
    }

    #[test]
    fn whole_frames_are_taken_one_by_one() {
        let mut input = response(3, b"abc");
        input.extend(response(5, b""));
        let (first, used) = parse(&input).unwrap().unwrap();
        assert_eq!(first, Frame::Response { stream: 3, payload: b"abc" });
        let (second, rest) = parse(&input[used..]).unwrap().unwrap();
        assert_eq!(second, Frame::Response { stream: 5, payload: b"" });
        assert_eq!(used + rest, input.len());
    }

    #[test]
    fn any_cut_waits_for_more() {
        let input = response(1, b"payload");
        for end in 0..input.len() {
            assert_eq!(parse(&input[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn garbage_is_refused_before_it_is_buffered() {
        assert_eq!(parse(b"HTTP/1.1 400 Bad"), Err(FrameError::TooLarge(0x4854_5450)));
        let mut odd = response(1, b"x");
        odd[8] = 9;
        assert_eq!(parse(&odd), Err(FrameError::Kind(9)));
    }
}
