//! Bodies: by length, by chunks (RFC 9112 §7.1), until the connection closes.
//!
//! In: contiguous bytes behind a head. Out: slices of them, then trailers or the end. Invariant: what ends a body is
//! decided here alone, and a chunk line that could be read two ways is refused.

use super::fields::parse_trailers;
use super::head::{Framing, Search};
use super::{Malformed, Settings, bad};
use crate::codec::contract::Input;
use crate::message::HeaderBlock;

/// Longest line of a chunk: size and extensions (which are ignored), bytes.
const MAX_CHUNK_LINE: usize = 256;
/// Behind the last byte of data: its line end, the last chunk, no trailers. The usual case in one step.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

#[derive(Debug, Default)]
pub(super) enum Body {
    #[default]
    Ended,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers(Search),
    UntilClose,
}

#[derive(Debug)]
pub(super) enum Piece<'b> {
    Data {
        bytes: &'b [u8],
        end: bool,
    },
    /// Ends the body.
    Trailers(Box<HeaderBlock>),
}

impl Body {
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty | Framing::Length(0) => Self::Ended,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::ChunkSize,
            Framing::UntilClose => Self::UntilClose,
        }
    }

    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// All of the body, if its length is known and it lies in the input: it is over then. Else nothing.
    pub fn take_whole<'b>(&mut self, input: &mut Input<'b>) -> &'b [u8] {
        match self {
            Self::Length(length) if *length <= input.rest().len() as u64 => {
                let bytes = take(input, length);
                *self = Self::Ended;
                bytes
            }
            _ => &[],
        }
    }

    /// The next piece, `None` when more bytes are needed. Not to be called once the body has ended.
    pub fn next<'b>(
        &mut self,
        input: &mut Input<'b>,
        settings: &Settings,
    ) -> Result<Option<Piece<'b>>, Malformed> {
        loop {
            match self {
                Self::Ended => return Ok(None),
                Self::Length(rest) => {
                    let bytes = take(input, rest);
                    let end = *rest == 0;
                    if end {
                        *self = Self::Ended;
                    }
                    return Ok((end || !bytes.is_empty()).then_some(Piece::Data { bytes, end }));
                }
                Self::UntilClose => {
                    let bytes: &[u8] = input.take(input.rest().len());
                    let end = input.ended;
                    if end {
                        *self = Self::Ended;
                    }
                    return Ok((end || !bytes.is_empty()).then_some(Piece::Data { bytes, end }));
                }
                Self::ChunkSize => match chunk_size(input)? {
                    None => return Ok(None),
                    Some(0) => *self = Self::Trailers(Search::default()),
                    Some(size) => *self = Self::ChunkData(size),
                },
                Self::ChunkData(rest) => {
                    let bytes = take(input, rest);
                    if *rest > 0 {
                        return Ok((!bytes.is_empty()).then_some(Piece::Data { bytes, end: false }));
                    }
                    let end = input.rest().starts_with(LAST_CHUNK);
                    if end {
                        input.take(LAST_CHUNK.len());
                    }
                    *self = if end { Self::Ended } else { Self::ChunkEnd };
                    return Ok(Some(Piece::Data { bytes, end }));
                }
                Self::ChunkEnd => match input.rest() {
                    [b'\r', b'\n', ..] => {
                        input.take(2);
                        *self = Self::ChunkSize;
                    }
                    [] | [b'\r'] => return Ok(None),
                    _ => return Err(bad("chunk longer than its size")),
                },
                Self::Trailers(search) => {
                    let Some(length) = search.run(input.rest(), settings)? else { return Ok(None) };
                    *self = Self::Ended;
                    let trailers = parse_trailers(input.take(length))?;
                    let piece = if trailers.is_empty() || !settings.trailers {
                        Piece::Data { bytes: &[], end: true }
                    } else {
                        Piece::Trailers(trailers)
                    };
                    return Ok(Some(piece));
                }
            }
        }
    }
}

/// Up to `rest` bytes, which are counted off.
fn take<'b>(input: &mut Input<'b>, rest: &mut u64) -> &'b [u8] {
    let bytes = input.take(usize::try_from(*rest).unwrap_or(usize::MAX));
    *rest -= bytes.len() as u64;
    bytes
}

/// A chunk's size line (RFC 9112 §7.1): hexadecimal digits only, no blanks before an extension, no bare line ends.
fn chunk_size(input: &mut Input<'_>) -> Result<Option<u64>, Malformed> {
    const BAD_SIZE: Malformed = bad("bad chunk size");
    let window = input.rest().get(..MAX_CHUNK_LINE).unwrap_or(input.rest());
    let Some(newline) = memchr::memchr(b'\n', window) else {
        let digits = window.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let plausible = matches!(window.get(digits), None | Some(b'\r' | b';')) && digits <= 16;
        return if plausible && window.len() < MAX_CHUNK_LINE { Ok(None) } else { Err(BAD_SIZE) };
    };
    let line =
        window.get(..newline).and_then(|line| line.strip_suffix(b"\r")).ok_or(bad("bare line feed"))?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at_checked(digits).ok_or(BAD_SIZE)?;
    let extension_fine = match extension {
        [] => true,
        [b';', text @ ..] => crate::codec::syntax::is_field_value(text),
        _ => false,
    };
    if !(1..=16).contains(&digits) || !extension_fine {
        return Err(BAD_SIZE);
    }
    let size =
        std::str::from_utf8(size).ok().and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or(BAD_SIZE)?;
    input.take(newline + 1);
    Ok(Some(size))
}
